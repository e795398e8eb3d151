/** The hash of what a stamp is bound to; stamp.py defines it. */

import { blake2b } from '@noble/hashes/blake2b';
import { bytesToHex } from '@noble/hashes/utils';

import { list, record } from '../values';
import { encoded } from './encoding';
import { settled } from './settled';

/** The tags that say how a cell is run. */
const TAGS = ['raises-exception', 'skip-execution'];

/** Return the hash of one cell, as a notebook's file has it. */
export function cellHash(cell: unknown): string {
  const found = record(cell);
  const kind = textOf(found.cell_type);
  const tags = list(record(found.metadata).tags);
  return hash([
    kind,
    textOf(found.source),
    TAGS.filter(tag => tags.includes(tag)),
    kind === 'code' ? outputsOf(list(found.outputs)) : []
  ]);
}

/**
 * Return the hash of a notebook's content.
 *
 * @param cells - The hash of each cell.
 * @param metadata - Our part of the notebook's metadata.
 */
export function contentHash(
  cells: readonly string[],
  metadata: unknown
): string {
  const { inputs = null, environment = null } = record(metadata);
  return hash(['jupyter_codeagent.content', 1, cells, inputs, environment]);
}

function hash(value: unknown): string {
  return bytesToHex(blake2b(encoded(value), { dkLen: 16 }));
}

/** Streams of one name that follow each other are one. */
function outputsOf(outputs: readonly unknown[]): unknown[][] {
  const found: unknown[][] = [];
  let texts: string[] = [];
  const settle = () => {
    if (texts.length) {
      found[found.length - 1][2] = settled(texts.join(''));
      texts = [];
    }
  };
  for (const output of outputs) {
    const next = outputOf(record(output));
    const isStream = next[0] === 'stream';
    if (isStream && texts.length && found[found.length - 1][1] === next[1]) {
      texts.push(next[2] as string);
    } else {
      settle();
      found.push(next);
      texts = isStream ? [next[2] as string] : [];
    }
  }
  settle();
  return found;
}

function outputOf(output: Record<string, unknown>): unknown[] {
  const kind = textOf(output.output_type);
  switch (kind) {
    case 'stream':
      return [kind, textOf(output.name), textOf(output.text)];
    case 'error':
      return [
        kind,
        textOf(output.ename),
        textOf(output.evalue),
        list(output.traceback).map(textOf)
      ];
    case 'display_data':
    case 'execute_result':
      return [kind, dataOf(record(output.data))];
    default:
      return [kind];
  }
}

function dataOf(data: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(data).map(([mime, value]) => [
      mime,
      mime !== 'application/json' && isTexts(value) ? value.join('') : value
    ])
  );
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every(line => typeof line === 'string');
}

function textOf(value: unknown): string {
  return isTexts(value)
    ? value.join('')
    : typeof value === 'string'
      ? value
      : '';
}
