import type { Session } from "../client.ts";

/** Has the server close what was abandoned, so that nothing it may still hold of those connections is executed later. */
export async function fence({ abandoned, control }: Pick<Session, "abandoned" | "control">): Promise<void> {
  for (const link of abandoned) {
    // Numbers begin again when a server restarts, names don't. A server that forbids this leaves it at the closed socket.
    const listed = await control()
      .call(["CLIENT", "LIST", "ID", String(link.id)])
      .catch(refusedOnly);
    if (String(listed).includes(`name=${link.name} `))
      await control()
        .call(["CLIENT", "KILL", "ID", String(link.id)])
        .catch(refusedOnly);
    abandoned.delete(link);
  }
}

function refusedOnly(error: unknown): string {
  if (error instanceof Error && error.message.startsWith("NOPERM")) return "";
  throw error;
}
