import { type Admin, driverError } from "brokerkit/driver";

function unsupported(what: string): Promise<never> {
  return Promise.reject(driverError("UNSUPPORTED", `Core NATS has no ${what}. Use nats: for JetStream.`));
}

/** Subjects exist by being used, so there is nothing to administer. */
export class CoreAdmin implements Admin {
  async createTopic(): Promise<"existing"> {
    return "existing";
  }

  describeTopic(): Promise<never> {
    return unsupported("description of topics");
  }

  async deleteTopic(): Promise<void> {}

  createGroup(): Promise<never> {
    return unsupported("groups without members: a group is there while somebody subscribes to it");
  }

  async deleteGroup(): Promise<void> {}

  position(): Promise<never> {
    return unsupported("positions");
  }

  seek(): Promise<never> {
    return unsupported("groups that could be moved");
  }

  lag(): Promise<never> {
    return unsupported("lag");
  }
}
