/** Which of the open pages writes a task's cells: exactly one. */

import type { ISharedNotebook } from '@jupyter/ydoc';

import { findAgentCell } from './attempts';
import type { ITaskState } from './store';
import { KEY } from './tokens';

/** What pages of a shared notebook know of each other. */
interface IAwareness {
  readonly clientID: number;
  getStates(): Map<number, Record<string, unknown>>;
  setLocalStateField(field: string, value: unknown): void;
}

/** Whether this page, with these sessions of the kernel, writes the cells of `task`. */
export function owns(
  notebook: ISharedNotebook,
  sessions: readonly string[],
  task: ITaskState
): boolean {
  if (!findAgentCell(notebook, task.cell, task.source)) {
    return false;
  }
  if (sessions.includes(task.session)) {
    return true;
  }
  const others = awarenessOf(notebook);
  if (!others) {
    return false;
  }
  const states = [...others.getStates().entries()];
  const theirs = states.some(([, state]) =>
    sessionsIn(state).includes(task.session)
  );
  const present = states
    .filter(([, state]) => KEY in state)
    .map(([clientID]) => clientID);
  return !theirs && Math.min(...present) === others.clientID;
}

/** Let the other pages of a shared notebook know this page's sessions. */
export function publish(
  notebook: ISharedNotebook,
  sessions: readonly string[]
): void {
  const shared = notebook as Partial<{ awareness: IAwareness }>;
  shared.awareness?.setLocalStateField(KEY, { sessions: [...sessions] });
}

/** Return the awareness of a notebook that several pages share, or null. */
function awarenessOf(notebook: ISharedNotebook): IAwareness | null {
  const shared = notebook as Partial<{ awareness: IAwareness }>;
  const awareness = shared.awareness ?? null;
  return awareness && awareness.getStates().size > 1 ? awareness : null;
}

function sessionsIn(state: Record<string, unknown>): unknown[] {
  const ours = state[KEY] as { sessions?: unknown } | undefined;
  return Array.isArray(ours?.sessions) ? ours.sessions : [];
}
