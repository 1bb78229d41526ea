import type { Driver } from "brokerkit/driver";
export class PubSubDriver {}
