import { WireError } from "./errors.ts";
import type { Reader } from "./reader.ts";
import { LENGTH, putText, putVarint, textSize, varintSize } from "./writer.ts";

export type Property = readonly [name: string, value: string];

/** Bytes of properties at the most. */
export function propertiesRoom(properties: readonly Property[]): number {
  let room = 0;
  for (let n = 0; n < properties.length; n++) {
    const property = properties[n] as Property;
    room += 16 + textSize(property[0]) + textSize(property[1]);
  }
  return room;
}

/** Repeated `KeyValue`, in order and with duplicates. */
export function putProperties(to: Buffer, at: number, field: number, properties: readonly Property[]): number {
  let next = at;
  for (let n = 0; n < properties.length; n++) {
    const property = properties[n] as Property;
    const name = property[0];
    const value = property[1];
    const nameSize = textSize(name);
    const valueSize = textSize(value);
    const size = 2 + varintSize(nameSize) + nameSize + varintSize(valueSize) + valueSize;
    next = putVarint(to, putVarint(to, next, (field << 3) | LENGTH), size);
    next = putText(to, putText(to, next, 1, name, nameSize), 2, value, valueSize);
  }
  return next;
}

export function readProperty(r: Reader): Property {
  let name: string | undefined;
  let value: string | undefined;
  const outer = r.enter();
  while (r.next()) {
    if (r.field === 1) name = r.text();
    else if (r.field === 2) value = r.text();
    else r.skip();
  }
  r.leave(outer);
  if (name === undefined || value === undefined) throw new WireError("A property has no name or no value.");
  return [name, value];
}
