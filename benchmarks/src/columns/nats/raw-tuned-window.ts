import type { Column } from "../../measure/column.ts";
import { openStream, StreamSession } from "./stream.ts";

const WINDOW = 2_000;

export const column: Column = {
  title: "nats, own replies",
  kind: "tuned",
  summary: "`publish` with a reply subject for each message under one subscription, 2,000 under way: what few applications do by hand",
  packages: () => ["nats"],
  latency: false,
  async open(site, workload) {
    const client = await openStream(site);
    const { createInbox, headers } = await import("nats");
    const inbox = createInbox();
    const waiting = new Map<number, { readonly resolve: () => void; readonly reject: (error: unknown) => void }>();
    client.connection.subscribe(`${inbox}.*`, {
      callback: (error, message) => {
        const number = Number(message.subject.slice(inbox.length + 1));
        const { resolve, reject } = waiting.get(number) ?? { resolve: () => {}, reject: () => {} };
        waiting.delete(number);
        if (error === null && !message.string().includes('"error"')) resolve();
        else reject(error ?? new Error(message.string()));
      },
    });
    let sent = 0;
    return new StreamSession(
      {
        ...client,
        add(subject, messages, index) {
          const key = messages.key(index);
          const own = headers();
          if (key !== undefined) own.set("key", key);
          const number = sent++;
          client.connection.publish(subject, messages.body(index), {
            reply: `${inbox}.${number}`,
            ...(key === undefined ? {} : { headers: own }),
          });
          return new Promise<void>((resolve, reject) => waiting.set(number, { resolve, reject }));
        },
      },
      workload,
      WINDOW,
    );
  },
};
