import { type Admin, driverError } from "brokerkit/driver";

function unsupported(what: string): Promise<never> {
  return Promise.reject(driverError("UNSUPPORTED", `Redis Pub/Sub has no ${what}. Use redis: for Streams.`));
}

/** Channels exist by being used, so there is next to nothing to administer. */
export class PubSubAdmin implements Admin {
  readonly deleteTopic: Admin["deleteTopic"];

  /** `forget` removes the channel's counter. */
  constructor(forget: Admin["deleteTopic"]) {
    this.deleteTopic = forget;
  }

  async createTopic(): Promise<"existing"> {
    return "existing";
  }

  describeTopic(): Promise<never> {
    return unsupported("description of topics");
  }

  createGroup(): Promise<never> {
    return unsupported("groups");
  }

  deleteGroup(): Promise<never> {
    return unsupported("groups");
  }

  position(): Promise<never> {
    return unsupported("positions");
  }

  seek(): Promise<never> {
    return unsupported("groups");
  }

  lag(): Promise<never> {
    return unsupported("groups");
  }
}
