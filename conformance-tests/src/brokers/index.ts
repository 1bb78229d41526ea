/** Brokers for tests and for people, started by recipes that adapters give as data. */
export { type ReservedPort, reservePort } from "../faults/ports.ts";
export { cacheFolder } from "./cache.ts";
export { makeCertificates } from "./certificates.ts";
export { LOG4J } from "./log4j.ts";
export { mavenArchive, mavenJars } from "./maven.ts";
export {
  type BrokerOptions,
  type BrokerRecipe,
  BrokerUnavailableError,
  type Command,
  type ContainerRecipe,
  type Download,
  type Endpoint,
  type Library,
  type Listening,
  NotOursError,
  type Place,
  type ProcessRecipe,
  type Program,
  type RunningBroker,
  type StartOptions,
} from "./recipe.ts";
export { startBroker } from "./start.ts";
