/** What is done to a notebook's cells; without a view, so that it works where the notebook is hidden. */

import type { ISharedCodeCell, ISharedNotebook } from '@jupyter/ydoc';
import type { IMimeBundle, IOutput, IStream } from '@jupyterlab/nbformat';
import { JSONExt, type PartialJSONObject } from '@lumino/coreutils';

import { codeHash } from './hash';
import { attemptRecord, taskRecord, unfinished } from './records';
import { type IAttemptRecord, type ITaskRecord, KEY } from './tokens';

/** The tag by which programs that run notebooks leave a cell out. */
const SKIP = 'skip-execution';
const FIRST_LINE = /^%%attempt\b[^\n]*(?:\n|$)/;
/** How the record of a task begins that has not ended. */
const AT_WORK = /^<div class="jca jca-(?:queued|running)">/;
const AGENT = /^\s*%%agent\b[^\n]*(?:\n|$)/;
/** What the view takes for commands inside a stream, so that its text is not as long as ours. */
const MOVES_CURSOR = /[\r\b]/;

/** Code cells whose streams can grow in place; the interface in @jupyter/ydoc leaves it out. */
interface IGrowingCell {
  removeStreamOutput(index: number, start: number): void;
  appendStreamOutput(index: number, text: string): void;
}

type SharedCell = ISharedNotebook['cells'][number];

/** Return the cell's first line, by which no front end runs it in the user's kernel. */
export function firstLine(record: IAttemptRecord): string {
  return `%%attempt ${record.task}.${record.attempt}\n`;
}

/** Whether the source begins with the attempt's first line. */
export function hasFirstLine(source: string, record: IAttemptRecord): boolean {
  return `${source}\n`.startsWith(firstLine(record));
}

/** Return the code of an attempt's cell. */
export function codeOf(source: string): string {
  return source.replace(FIRST_LINE, '');
}

/** Return what the user wrote below the first line of an agent cell, or null where it is none. */
export function taskText(source: string): string | null {
  return AGENT.test(source) ? source.replace(AGENT, '').trim() : null;
}

/** Return the cell as a code cell, or null. */
export function codeCell(cell: SharedCell | undefined): ISharedCodeCell | null {
  return cell?.cell_type === 'code' ? (cell as ISharedCodeCell) : null;
}

/** Return the record of an attempt that stands in the cell, or null. */
export function attemptIn(cell: SharedCell): IAttemptRecord | null {
  const record =
    cell.cell_type === 'code' ? attemptRecord(cell.getMetadata(KEY)) : null;
  if (!record) {
    return null;
  }
  const opened = hasFirstLine(cell.getSource(), record);
  if (record.role === 'attempt') {
    // Without that line it is a cell like others: it runs in the user's kernel.
    return opened || record.status === 'running' ? record : null;
  }
  if (!opened) {
    return record;
  }
  // Running a cell writes all its metadata anew, so that undo brings back the first line only.
  const status = record.rolled_back ? 'failed' : 'succeeded';
  return { ...record, role: 'attempt', status };
}

/** Put the first line back where it is missing; false where the cell does not hold this attempt, to be run as one. */
export function ensureFirstLine(
  cell: ISharedCodeCell,
  { task, attempt }: IAttemptRecord
): boolean {
  const record = attemptIn(cell) ?? attemptRecord(cell.getMetadata(KEY));
  if (
    record?.role !== 'attempt' ||
    record.task !== task ||
    record.attempt !== attempt
  ) {
    return false;
  }
  if (!hasFirstLine(cell.getSource(), record)) {
    cell.updateSource(0, 0, firstLine(record));
  }
  return hasFirstLine(cell.getSource(), record);
}

/** Return the record of a task that stands in the cell, or null. */
export function taskIn(cell: SharedCell): ITaskRecord | null {
  return cell.cell_type === 'code' ? taskRecord(cell.getMetadata(KEY)) : null;
}

/** Return the attempt's cell, or null. */
export function findAttempt(
  notebook: ISharedNotebook,
  task: string,
  attempt: number
): ISharedCodeCell | null {
  for (const cell of notebook.cells) {
    const record = attemptIn(cell);
    if (record?.task === task && record.attempt === attempt) {
      return codeCell(cell);
    }
  }
  return null;
}

/** Return the agent cell of a task: the one with this id, or else the one that was run with this text. */
export function findAgentCell(
  notebook: ISharedNotebook,
  id: string,
  source: string
): ISharedCodeCell | null {
  if (!id && !source) {
    return null;
  }
  const same = notebook.cells.find(cell =>
    id
      ? cell.id === id
      : cell.cell_type === 'code' && cell.getSource() === source
  );
  return codeCell(same);
}

/** Return where the next attempt goes: after the agent cell and its earlier attempts; -1 without agent cell. */
export function placeFor(
  notebook: ISharedNotebook,
  agentCell: string,
  record: IAttemptRecord
): number {
  let place = notebook.cells.findIndex(cell => cell.id === agentCell) + 1;
  if (place === 0) {
    return -1;
  }
  notebook.cells.forEach((cell, index) => {
    const other = attemptIn(cell);
    if (other?.task === record.task && other.attempt < record.attempt) {
      place = Math.max(place, index + 1);
    }
  });
  return place;
}

/** Insert the attempt's cell, empty, as one step of undo; null where the notebook has it, or has no agent cell. */
export function insertAttempt(
  notebook: ISharedNotebook,
  agentCell: string,
  record: IAttemptRecord
): ISharedCodeCell | null {
  const place = placeFor(notebook, agentCell, record);
  if (place < 0 || findAttempt(notebook, record.task, record.attempt)) {
    return null;
  }
  oneStep(notebook, () => {
    notebook.insertCell(place, {
      cell_type: 'code',
      source: firstLine(record),
      outputs: [],
      metadata: {
        [KEY]: json({ ...record, status: 'running' }),
        tags: [SKIP],
        trusted: false
      }
    });
  });
  return codeCell(notebook.cells[place]);
}

/** Make the cell's code `code`, changing only what differs; no step of undo. */
export function writeCode(
  cell: ISharedCodeCell,
  record: IAttemptRecord,
  code: string
): void {
  const now = cell.getSource();
  const wanted = firstLine(record) + code;
  const at = samePrefix(now, wanted);
  if (at < now.length || at < wanted.length) {
    cell.transact(
      () => cell.updateSource(at, now.length, wanted.slice(at)),
      false
    );
  }
}

/** Make the cell's outputs `after`, where they are `before`; what is the same stays. Returns what they are now. */
export function writeOutputs(
  cell: ISharedCodeCell,
  before: readonly IOutput[],
  after: readonly IOutput[]
): readonly IOutput[] {
  const wanted = joinedStreams(after);
  let same = 0;
  while (
    same < before.length &&
    same < wanted.length &&
    equal(before[same], wanted[same])
  ) {
    same += 1;
  }
  const grown =
    same === before.length - 1 && growStream(cell, same, before, wanted);
  if (same < before.length && !grown) {
    // In two steps: the view joins a stream with the one before it, also with one that is about to go.
    cell.transact(() => cell.updateOutputs(0, before.length, []), false);
    same = 0;
  }
  const from = grown ? same + 1 : same;
  if (from < wanted.length) {
    cell.transact(
      () => cell.updateOutputs(from, from, wanted.slice(from)),
      false
    );
  }
  return wanted;
}

/** Write the attempt's record; no step of undo. */
export function writeAttempt(
  cell: ISharedCodeCell,
  record: IAttemptRecord
): void {
  cell.transact(() => cell.setMetadata(KEY, json(record)), false);
}

/** Return the place of the output that shows its task still at work; -1 where there is none. */
export function placeOfWork(cell: ISharedCodeCell): number {
  return cell.getOutputs().findIndex(output => {
    const data = output.data as PartialJSONObject | undefined;
    const html = data?.['text/html'];
    const text = Array.isArray(html) ? html.join('') : html;
    return typeof text === 'string' && AT_WORK.test(text.slice(0, 100));
  });
}

/** Say which candidate of a round is chosen: one step of undo. */
export function chooseAttempt(
  notebook: ISharedNotebook,
  candidates: ReadonlyMap<ISharedCodeCell, IAttemptRecord>
): void {
  oneStep(notebook, () => {
    notebook.transact(() => {
      candidates.forEach((record, cell) => {
        cell.setMetadata(KEY, json(record));
      });
    });
  });
}

/** Show `data` where the task was shown at work; no step of undo. */
export function writeEnd(cell: ISharedCodeCell, data: IMimeBundle): void {
  const place = placeOfWork(cell);
  if (place >= 0) {
    const output = { output_type: 'display_data', data, metadata: {} };
    cell.transact(() => cell.updateOutputs(place, place + 1, [output]), false);
  }
}

/** Take back that the cell is trusted: what it shows comes from the sandbox; no step of undo. */
export function distrust(cell: ISharedCodeCell): void {
  cell.transact(() => cell.setMetadata('trusted', false), false);
}

/** Write the task's record into its agent cell; no step of undo. */
export function writeTask(cell: ISharedCodeCell, record: ITaskRecord): void {
  cell.transact(() => cell.setMetadata(KEY, json(record)), false);
}

/** Make the attempt's cell an ordinary one, with its provenance in the metadata: one step of undo. */
export function acceptAttempt(
  notebook: ISharedNotebook,
  cell: ISharedCodeCell
): void {
  const record = attemptIn(cell);
  if (record?.role !== 'attempt') {
    return;
  }
  const line = FIRST_LINE.exec(cell.getSource())?.[0] ?? '';
  const tags = cell.getMetadata('tags');
  const others = Array.isArray(tags) ? tags.filter(tag => tag !== SKIP) : [];
  oneStep(notebook, () => {
    notebook.transact(() => {
      cell.updateSource(0, line.length, '');
      cell.execution_count = null;
      setCollapsed(cell, false);
      if (others.length > 0) {
        cell.setMetadata('tags', others);
      } else {
        cell.deleteMetadata('tags');
      }
      const hash = codeHash(cell.getSource());
      cell.setMetadata(
        KEY,
        json({ ...record, role: 'accepted', status: 'accepted', hash })
      );
    });
  });
}

/** Delete the attempts' cells: one step of undo. */
export function deleteCells(
  notebook: ISharedNotebook,
  cells: readonly ISharedCodeCell[]
): void {
  const ids = new Set(cells.map(cell => cell.id));
  const places = notebook.cells.flatMap((cell, index) =>
    ids.has(cell.id) ? [index] : []
  );
  const all = places.length === notebook.cells.length;
  oneStep(notebook, () => {
    // Inside, `notebook.cells` stays as it was: from the end, so that the places are right.
    notebook.transact(() => {
      places.reverse().forEach(place => notebook.deleteCell(place));
      if (all) {
        notebook.insertCell(0, { cell_type: 'code' });
      }
    });
  });
}

/** Whether the cell is shown as one line. */
export function isCollapsed(cell: SharedCell): boolean {
  const jupyter = cell.getMetadata('jupyter');
  return (jupyter as PartialJSONObject | undefined)?.source_hidden === true;
}

/** Show the cell as one line, or whole; no step of undo. */
export function setCollapsed(cell: ISharedCodeCell, collapsed: boolean): void {
  if (collapsed === isCollapsed(cell)) {
    return;
  }
  const { source_hidden, outputs_hidden, ...rest } = (cell.getMetadata(
    'jupyter'
  ) ?? {}) as PartialJSONObject;
  cell.transact(() => {
    if (collapsed) {
      cell.setMetadata('jupyter', {
        ...rest,
        source_hidden: true,
        outputs_hidden: true
      });
    } else if (Object.keys(rest).length > 0) {
      cell.setMetadata('jupyter', rest);
    } else if (source_hidden !== undefined || outputs_hidden !== undefined) {
      cell.deleteMetadata('jupyter');
    }
  }, false);
}

/** Mark what was running when its kernel ended; `known` are tasks that go on. */
export function markStopped(
  notebook: ISharedNotebook,
  known: readonly string[],
  reason: string
): void {
  for (const cell of notebook.cells) {
    const shared = codeCell(cell);
    const task = taskIn(cell);
    if (shared && task && unfinished(task) && !known.includes(task.task)) {
      writeTask(shared, { ...task, status: 'stopped', reason });
    }
    const attempt = attemptIn(cell);
    if (
      shared &&
      attempt?.status === 'running' &&
      !known.includes(attempt.task)
    ) {
      const hash = codeHash(codeOf(shared.getSource()));
      writeAttempt(shared, { ...attempt, status: 'failed', hash });
    }
  }
}

/** Do `change` as one step of undo, also where the user types at the same time. */
function oneStep(notebook: ISharedNotebook, change: () => void): void {
  const manager = (
    notebook as Partial<{ undoManager: { stopCapturing(): void } }>
  ).undoManager;
  manager?.stopCapturing();
  change();
  manager?.stopCapturing();
}

/** Let the last output grow, where it is a stream and stays one; false where it cannot. */
function growStream(
  cell: ISharedCodeCell,
  index: number,
  before: readonly IOutput[],
  wanted: readonly IOutput[]
): boolean {
  const old = stream(before[index]);
  const grown = stream(wanted[index]);
  const text = cell as Partial<IGrowingCell>;
  if (!old || !grown || old.name !== grown.name) {
    return false;
  }
  const [had, has] = [streamText(old), streamText(grown)];
  if (
    !text.appendStreamOutput ||
    MOVES_CURSOR.test(had) ||
    MOVES_CURSOR.test(has)
  ) {
    return false;
  }
  const at = samePrefix(had, has);
  if (at < had.length) {
    text.removeStreamOutput?.(index, at);
  }
  if (at < has.length) {
    text.appendStreamOutput?.(index, has.slice(at));
  }
  return true;
}

/** Return the outputs with neighbouring streams of one name joined, as the view joins them. */
function joinedStreams(outputs: readonly IOutput[]): readonly IOutput[] {
  const joined: IOutput[] = [];
  for (const output of outputs) {
    const now = stream(output);
    const last = stream(joined[joined.length - 1]);
    if (now && last && last.name === now.name) {
      joined[joined.length - 1] = {
        ...last,
        text: streamText(last) + streamText(now)
      };
    } else if (now && typeof now.text !== 'string') {
      joined.push({ ...now, text: streamText(now) });
    } else {
      joined.push(output);
    }
  }
  return joined;
}

function stream(output: IOutput | undefined): IStream | null {
  return output?.output_type === 'stream' ? (output as IStream) : null;
}

function streamText(output: IStream): string {
  return typeof output.text === 'string' ? output.text : output.text.join('');
}

function equal(one: IOutput, other: IOutput): boolean {
  return one === other || JSONExt.deepEqual(one, other);
}

/** Return how many code units are the same at the begin, never half of a character. */
function samePrefix(one: string, other: string): number {
  const most = Math.min(one.length, other.length);
  let at = 0;
  while (at < most && one.charCodeAt(at) === other.charCodeAt(at)) {
    at += 1;
  }
  return at > 0 && (one.charCodeAt(at - 1) & 0xfc00) === 0xd800 ? at - 1 : at;
}

/** Return a record as plain JSON, which an interface of ours is not for the type checker. */
function json(record: IAttemptRecord | ITaskRecord): PartialJSONObject {
  return { ...record } as unknown as PartialJSONObject;
}
