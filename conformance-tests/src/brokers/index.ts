/** Brokers for tests and for people, started by recipes that adapters give as data. */
export {
  type BrokerOptions,
  type BrokerRecipe,
  BrokerUnavailableError,
  type ContainerRecipe,
  type Download,
  type Endpoint,
  NotOursError,
  type Place,
  type ProcessRecipe,
  type RunningBroker,
  type StartOptions,
} from "./recipe.ts";
export { startBroker } from "./start.ts";
