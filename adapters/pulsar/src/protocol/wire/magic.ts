/** Before the checksum of metadata and payload. */
export const MAGIC_CRC32C = 0x0e01;
/** Before metadata that the broker adds to an entry. */
export const MAGIC_BROKER_ENTRY = 0x0e02;
