/** What each file in tools/checks/ default-exports; it counts as one case of the test run. */
export interface Check {
  /** A statement that holds while there are no violations. */
  readonly name: string;
  /** Violations, each with its file and what to do about it. */
  run(root: string): Promise<readonly string[]>;
}
