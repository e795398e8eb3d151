/** Tasks that are composed for the user: a cell to fix, code to explain, what was attached. */

import type { Cell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';

import { compose, type IQuote, literalPattern } from './compose';
import { quotesOf } from './notebook';

/** Something that goes with a task; a cell is read when the task is sent. */
export type Attachment =
  | { kind: 'cell'; id: string; name: string }
  | { kind: 'selection'; text: string; name: string }
  | { kind: 'variable'; name: string }
  | { kind: 'file'; name: string };

export interface IRequest {
  task: string;
  files: string[];
  variables: string[];
}

export const FIX =
  'This cell fails. Find out why and write a version of it that works.';
export const EXPLAIN =
  'Explain in plain words what this does and why. Only explain; no code is needed.';
export const TEST = 'Write tests for this code and run them.';

/** Return the task of fixing or explaining `cell`, with what the user added. */
export function aboutCell(
  panel: NotebookPanel,
  cell: Cell,
  sentence: string,
  added = ''
): string {
  return compose(join(sentence, added), quotesOf(panel, cell));
}

/** Return what is sent for the user's words and attachments. */
export function requestOf(
  panel: NotebookPanel,
  words: string,
  attachments: readonly Attachment[]
): IRequest {
  const names = (kind: 'variable' | 'file') =>
    attachments.filter(item => item.kind === kind).map(item => item.name);
  const quotes = attachments.flatMap(item => quotesFor(panel, item));
  return {
    task: compose(words, quotes),
    files: names('file').map(literalPattern),
    variables: names('variable')
  };
}

/** Return the user's words below ours. */
export function join(sentence: string, added: string): string {
  return added ? `${sentence}\n${added}` : sentence;
}

export function sameAttachment(a: Attachment, b: Attachment): boolean {
  return keyOf(a) === keyOf(b);
}

/** Return what tells an attachment from the others. */
export function keyOf(item: Attachment): string {
  const value =
    item.kind === 'cell'
      ? item.id
      : item.kind === 'selection'
        ? item.text
        : item.name;
  return `${item.kind} ${value}`;
}

function quotesFor(panel: NotebookPanel, item: Attachment): IQuote[] {
  if (item.kind === 'selection') {
    return [{ title: 'The selection', language: 'python', text: item.text }];
  }
  if (item.kind !== 'cell') {
    return [];
  }
  const cell = panel.content.widgets.find(({ model }) => model.id === item.id);
  if (!cell) {
    throw new Error(
      `The attached ${item.name} is no longer in the notebook; remove it and send again.`
    );
  }
  return quotesOf(panel, cell);
}
