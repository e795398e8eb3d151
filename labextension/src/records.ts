/** What cells' metadata say of tasks and attempts, read with distrust: whoever wrote the notebook wrote it. */

import type {
  AttemptStatus,
  IAttemptRecord,
  ITaskRecord,
  ITokens,
  TaskStatus
} from './tokens';

const TASK_ID = /^[A-Za-z0-9_-]{1,40}$/;
const HASH = /^[0-9a-f]{32}$/;
const TASK_STATUSES: readonly TaskStatus[] = [
  'queued',
  'running',
  'solved',
  'failed',
  'stopped'
];
const ATTEMPT_STATUSES: readonly AttemptStatus[] = [
  'running',
  'failed',
  'succeeded',
  'accepted',
  'discarded',
  'edited'
];

/** Characters that are read of a text, and entries of a list: a browser takes seconds to lay out more. */
const MOST = 20_000;
const NAME_MOST = 200;
const NOTES_MOST = 100;
const REASON_MOST = 1000;
const CANDIDATES_MOST = 8;

type Loose = Record<string, unknown>;

/** Return the attempt's record in `value`, or null where there is none. */
export function attemptRecord(value: unknown): IAttemptRecord | null {
  const loose = object(value);
  const role = loose.role;
  const status = ATTEMPT_STATUSES.find(known => known === loose.status);
  if (
    loose.version !== 1 ||
    (role !== 'attempt' && role !== 'accepted') ||
    !taskId(loose.task) ||
    !Number.isSafeInteger(loose.attempt) ||
    (loose.attempt as number) < 1 ||
    status === undefined
  ) {
    return null;
  }
  const record: IAttemptRecord = {
    version: 1,
    role,
    task: loose.task as string,
    attempt: loose.attempt as number,
    status,
    model: text(loose.model, NAME_MOST),
    duration: amount(loose.duration),
    tokens: tokens(loose.tokens),
    tier: text(loose.tier, NAME_MOST),
    rolled_back: loose.rolled_back === true,
    hash: HASH.test(text(loose.hash)) ? text(loose.hash) : ''
  };
  if (text(loose.explanation)) {
    record.explanation = text(loose.explanation);
  }
  if (Array.isArray(loose.notes) && loose.notes.length > 0) {
    record.notes = loose.notes
      .slice(0, NOTES_MOST)
      .map(note => text(note))
      .filter(note => note);
  }
  return { ...record, ...candidate(loose) };
}

/** Return the task's record in `value`, or null where there is none. */
export function taskRecord(value: unknown): ITaskRecord | null {
  const loose = object(value);
  const status = TASK_STATUSES.find(known => known === loose.status);
  if (
    loose.version !== 1 ||
    loose.role !== 'task' ||
    !taskId(loose.task) ||
    status === undefined
  ) {
    return null;
  }
  const candidates = whole(loose.candidates, 2, CANDIDATES_MOST);
  return {
    ...(candidates && { candidates }),
    version: 1,
    role: 'task',
    task: loose.task as string,
    status,
    limit: amount(loose.limit),
    model: text(loose.model, NAME_MOST),
    tier: text(loose.tier, NAME_MOST),
    told: text(loose.told),
    background: loose.background === true,
    answer: text(loose.answer),
    reason: text(loose.reason),
    tokens: tokens(loose.tokens),
    cost: typeof loose.cost === 'number' ? amount(loose.cost) : null,
    duration: amount(loose.duration),
    hash: HASH.test(text(loose.hash)) ? text(loose.hash) : ''
  };
}

/** Return what is said of an attempt as one of several candidates; nothing where that does not hold together. */
function candidate(loose: Loose): Partial<IAttemptRecord> {
  const of = whole(loose.of, 2, CANDIDATES_MOST);
  const round = whole(loose.round, 1, Number.MAX_SAFE_INTEGER);
  const place = of && whole(loose.candidate, 1, of);
  if (!of || !round || !place) {
    return {};
  }
  const reason = text(loose.reason, REASON_MOST);
  return { round, candidate: place, of, chosen: loose.chosen === true, reason };
}

/** Return `value` where it is an integer between the two, else nothing. */
function whole(
  value: unknown,
  least: number,
  most: number
): number | undefined {
  return typeof value === 'number' &&
    Number.isSafeInteger(value) &&
    value >= least &&
    value <= most
    ? value
    : undefined;
}

/** Whether the task goes on. */
export function unfinished(record: ITaskRecord): boolean {
  return record.status === 'queued' || record.status === 'running';
}

function tokens(value: unknown): ITokens {
  const loose = object(value);
  return {
    input: amount(loose.input),
    output: amount(loose.output),
    cache_read: amount(loose.cache_read)
  };
}

function object(value: unknown): Loose {
  return typeof value === 'object' && value !== null ? (value as Loose) : {};
}

function taskId(value: unknown): boolean {
  return typeof value === 'string' && TASK_ID.test(value);
}

function text(value: unknown, most = MOST): string {
  if (typeof value !== 'string') {
    return '';
  }
  return value.length > most ? `${value.slice(0, most)}\u2026` : value;
}

function amount(value: unknown): number {
  return typeof value === 'number' && Number.isFinite(value) && value > 0
    ? value
    : 0;
}
