/** What is used of https://www.npmjs.com/package/pulsar-client, by its own names. */
export interface NativeModule {
  readonly Client: new (config: Readonly<Record<string, unknown>>) => Client;
  readonly AuthenticationToken: new (config: { readonly token: () => Promise<string> }) => unknown;
}

export interface Client {
  getPartitionsForTopic(topic: string): Promise<readonly string[]>;
  createProducer(config: Readonly<Record<string, unknown>>): Promise<Producer>;
  subscribe(config: Readonly<Record<string, unknown>>): Promise<Consumer>;
  close(): Promise<unknown>;
}

export interface Producer {
  send(message: Readonly<Record<string, unknown>>): Promise<Id>;
  close(): Promise<unknown>;
}

export interface Consumer {
  /** Rejects when nothing came in time. */
  receive(timeoutMs: number): Promise<Message>;
  acknowledge(message: Message): Promise<unknown>;
  negativeAcknowledge(message: Message): void;
  unsubscribe(): Promise<unknown>;
  close(): Promise<unknown>;
  isConnected(): boolean;
}

/** `(ledger,entry,partition,batch index)`; a topic without partitions says -1. */
export interface Id {
  toString(): string;
}

export interface Message {
  getMessageId(): Id;
  getData(): Buffer;
  getPartitionKey(): string;
  getProperties(): Readonly<Record<string, string>>;
  getPublishTimestamp(): number;
  getEventTimestamp(): number;
  getRedeliveryCount(): number;
  getProducerName(): string;
}
