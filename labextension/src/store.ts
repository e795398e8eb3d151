/** What the kernel has told of its tasks: the sum of its messages. */

import type { IOutput, IStream } from '@jupyterlab/nbformat';

import { attemptRecord, taskRecord } from './records';
import type { IAttemptRecord, ITaskRecord, Phase } from './tokens';

/** An attempt as the kernel has it. */
export interface IAttemptState {
  record: IAttemptRecord;
  phase: Phase;
  code: string;
  outputs: readonly IOutput[];
  /** Code and outputs are known from their begin; not so where a page came in the middle. */
  whole: boolean;
}

/** A task as the kernel has it. */
export interface ITaskState {
  readonly id: string;
  session: string;
  cell: string;
  source: string;
  replayed: boolean;
  record: ITaskRecord | null;
  readonly attempts: Map<number, IAttemptState>;
}

/** What one message changed. */
export interface IChange {
  readonly task: ITaskState;
  /** The attempt that it was about; null where it was about the task. */
  readonly attempt: IAttemptState | null;
}

type Message = Record<string, unknown>;

/** The tasks of one kernel. */
export class TaskStore {
  readonly tasks = new Map<string, ITaskState>();

  /** Take in a message of the kernel; null where it says nothing that we know. */
  take(message: Message): IChange | null {
    const id = message.task;
    if (typeof id !== 'string') {
      return null;
    }
    if (message.type === 'task') {
      const record = taskRecord(message.record);
      return record ? this._task(id, message, record) : null;
    }
    if (message.type === 'attempt') {
      const record = attemptRecord(message.record);
      return record ? this._attempt(id, message, record) : null;
    }
    return null;
  }

  /** Forget everything: the kernel is another one. */
  clear(): void {
    this.tasks.clear();
  }

  private _task(id: string, message: Message, record: ITaskRecord): IChange {
    const task = this._known(id, message);
    task.record = record;
    task.replayed = message.replayed === true;
    if (typeof message.source === 'string') {
      task.source = message.source;
    }
    return { task, attempt: null };
  }

  private _attempt(
    id: string,
    message: Message,
    record: IAttemptRecord
  ): IChange {
    const task = this._known(id, message);
    const before = task.attempts.get(record.attempt);
    const code = withCode(before?.code ?? '', message.code);
    const outputs = withOutputs(before?.outputs ?? [], message.outputs);
    const fits = code !== null && outputs !== null;
    const whole = before ? before.whole : isBegin(message);
    const attempt: IAttemptState = {
      record,
      phase: phase(message.phase),
      code: code ?? before?.code ?? '',
      outputs: outputs ?? before?.outputs ?? [],
      whole: (fits && whole) || isFull(message)
    };
    task.attempts.set(record.attempt, attempt);
    return { task, attempt };
  }

  private _known(id: string, message: Message): ITaskState {
    const task = this.tasks.get(id) ?? {
      id,
      session: '',
      cell: '',
      source: '',
      replayed: false,
      record: null,
      attempts: new Map<number, IAttemptState>()
    };
    if (typeof message.session === 'string') {
      task.session = message.session;
    }
    if (typeof message.cell === 'string' && message.cell) {
      task.cell = message.cell;
    }
    // The latest stands last, so that it is the one that counts for its cell.
    if (!this.tasks.has(id)) {
      this.tasks.set(id, task);
    }
    return task;
  }
}

/** Whether the first message seen of an attempt is the first that was sent, or says all. */
function isBegin(message: Message): boolean {
  const code = start(message.code);
  const empty = code === undefined && message.phase === 'writing';
  return (code === 0 || empty) && (start(message.outputs) ?? 0) === 0;
}

function isFull(message: Message): boolean {
  return start(message.code) === 0 && start(message.outputs) === 0;
}

function start(delta: unknown): unknown {
  return (delta as { at?: unknown } | undefined)?.at;
}

function phase(value: unknown): Phase {
  return value === 'writing' || value === 'running' ? value : 'done';
}

/** Return the code after the delta, or null where it does not fit what is known. */
function withCode(code: string, delta: unknown): string | null {
  const { at, text } = (delta ?? { at: code.length, text: '' }) as {
    at: unknown;
    text: unknown;
  };
  return typeof at === 'number' && typeof text === 'string' && at <= code.length
    ? code.slice(0, at) + text
    : null;
}

/** Return the outputs after the delta, or null where it does not fit what is known. */
function withOutputs(
  outputs: readonly IOutput[],
  delta: unknown
): readonly IOutput[] | null {
  if (delta === undefined || delta === null) {
    return outputs;
  }
  const { at, items, tail } = delta as {
    at?: unknown;
    items?: unknown;
    tail?: unknown;
  };
  if (typeof at !== 'number' || at > outputs.length || !Array.isArray(items)) {
    return null;
  }
  const next = [...outputs.slice(0, at), ...(items as IOutput[])];
  return tail === undefined || tail === null ? next : withTail(next, tail);
}

function withTail(outputs: IOutput[], tail: unknown): IOutput[] | null {
  const last = outputs.pop() as IStream | undefined;
  if (last?.output_type !== 'stream') {
    return null;
  }
  const had = typeof last.text === 'string' ? last.text : last.text.join('');
  const text = withCode(had, tail);
  return text === null ? null : [...outputs, { ...last, text }];
}
