import type { Cell, CodeCell } from '@jupyterlab/cells';
import type { NotebookPanel } from '@jupyterlab/notebook';
import { Token } from '@lumino/coreutils';
import type { ISignal } from '@lumino/signaling';

/** The key of our part of cell metadata. */
export const KEY = 'jupyter_codeagent';

/** The comm that the kernel opens, and the one that we open. */
export const EVENTS = 'jupyter_codeagent';
export const CONTROL = 'jupyter_codeagent.control';

export const EXTENSION = 'jupyter-codeagent-labextension';

export type TaskStatus = 'queued' | 'running' | 'solved' | 'failed' | 'stopped';
export type AttemptStatus =
  'running' | 'failed' | 'succeeded' | 'accepted' | 'discarded' | 'edited';
export type Phase = 'writing' | 'running' | 'done';

export interface ITokens {
  input: number;
  output: number;
  cache_read: number;
}

/** What stands in the metadata of an agent cell. Never trusted: it is shown, and grants nothing. */
export interface ITaskRecord {
  version: 1;
  role: 'task';
  task: string;
  status: TaskStatus;
  limit: number;
  model: string;
  tier: string;
  told: string;
  background: boolean;
  answer: string;
  reason: string;
  tokens: ITokens;
  cost: number | null;
  duration: number;
  hash: string;
  /** How many candidates each ask has, where that is more than one. */
  candidates?: number;
}

/** What stands in the metadata of an attempt's cell. */
export interface IAttemptRecord {
  version: 1;
  role: 'attempt' | 'accepted';
  task: string;
  attempt: number;
  status: AttemptStatus;
  model: string;
  duration: number;
  tokens: ITokens;
  tier: string;
  rolled_back: boolean;
  hash: string;
  explanation?: string;
  notes?: string[];
  /** These five only where an ask had several candidates: which ask of the task, which of how many, and what became of it. */
  round?: number;
  candidate?: number;
  of?: number;
  chosen?: boolean;
  reason?: string;
}

export interface IAttemptView {
  readonly record: IAttemptRecord;
  readonly phase: Phase;
  /** The code, without the first line of the cell. */
  readonly code: string;
  /** The code is not as it was recorded. */
  readonly edited: boolean;
  readonly cellId: string;
}

export interface ITaskView {
  /** Empty while no kernel has said anything of this agent cell. */
  readonly id: string;
  readonly cellId: string;
  /** What the user wrote below the first line. */
  readonly text: string;
  readonly record: ITaskRecord | null;
  readonly attempts: IAttemptView[];
  /** Attempts that the kernel knows and that are no cells of this notebook. */
  readonly missing: number;
}

export interface IReply {
  ok: boolean;
  text: string;
  [more: string]: unknown;
}

/** Options of an agent cell that is written for the user. */
export interface IAskOptions {
  background: boolean;
  model?: string;
  attempts?: number;
  candidates?: number;
  files?: string[];
  variables?: string[];
  review?: boolean;
}

/** The agent's work in one open notebook. All content comes from the notebook's cells. */
export interface INotebookWork {
  readonly panel: NotebookPanel;
  readonly tasks: readonly ITaskView[];
  /** Something changed; at most once per animation frame. */
  readonly changed: ISignal<INotebookWork, void>;
  /** The kernel has our magics loaded and the control comm is open. */
  readonly connected: boolean;
  /** Tasks can work in the background; where not, they are asked in the foreground. */
  readonly background: boolean;
  /** The task that runs now, foreground or background. */
  readonly running: ITaskView | null;
  /** Write an agent cell below the active cell (or below `below`) and run it; loads the magics by a visible cell at the top where they are missing. Returns its cell id. */
  ask(task: string, options: IAskOptions, below?: Cell): Promise<string>;
  /** Ask the kernel; rejects where it does not answer within `patience` milliseconds, which has a default. */
  request(
    type: string,
    payload?: Record<string, unknown>,
    patience?: number
  ): Promise<IReply>;
  cellOf(attempt: IAttemptView): CodeCell | null;
  accept(attempt: IAttemptView, run: boolean): Promise<void>;
  edit(attempt: IAttemptView): Promise<void>;
  runInSandbox(attempt: IAttemptView): Promise<void>;
  discard(attempt: IAttemptView): Promise<void>;
  /** Have the task go on from this candidate; returns what becomes of the sandbox, rejects with a sentence where it cannot. */
  choose(attempt: IAttemptView): Promise<string>;
  acceptAll(task: ITaskView): Promise<void>;
  discardAll(task: ITaskView): Promise<void>;
  goTo(cellId: string): Promise<void>;
  /** Insert the attempts that are missing as cells. */
  showMissing(task: ITaskView): Promise<void>;
  stop(task?: ITaskView): Promise<void>;
}

export interface IAgentCells {
  of(panel: NotebookPanel): INotebookWork | null;
  /** Of the active notebook. */
  readonly current: INotebookWork | null;
  readonly currentChanged: ISignal<IAgentCells, INotebookWork | null>;
}

export const IAgentCells = new Token<IAgentCells>(
  'jupyter-codeagent-labextension:IAgentCells',
  "The coding agent's work in open notebooks."
);

/** Ids of commands; labels and implementations stand in commands.ts. */
export const Commands = {
  accept: 'jupyter-codeagent:accept-attempt',
  acceptAndRun: 'jupyter-codeagent:accept-and-run-attempt',
  edit: 'jupyter-codeagent:edit-attempt',
  runInSandbox: 'jupyter-codeagent:run-attempt-in-sandbox',
  discard: 'jupyter-codeagent:discard-attempt',
  toggle: 'jupyter-codeagent:toggle-attempt',
  choose: 'jupyter-codeagent:choose-candidate',
  next: 'jupyter-codeagent:go-to-next-attempt',
  previous: 'jupyter-codeagent:go-to-previous-attempt',
  acceptAll: 'jupyter-codeagent:accept-all-attempts',
  discardAll: 'jupyter-codeagent:discard-all-attempts',
  stop: 'jupyter-codeagent:stop-task',
  solveAgain: 'jupyter-codeagent:solve-again',
  openPanel: 'jupyter-codeagent:open-panel',
  ask: 'jupyter-codeagent:ask-agent',
  askAboutCell: 'jupyter-codeagent:ask-about-cell',
  fixCell: 'jupyter-codeagent:fix-cell',
  explainCell: 'jupyter-codeagent:explain-cell',
  saveNotebook: 'jupyter-codeagent:save-notebook',
  verifyNotebook: 'jupyter-codeagent:verify-notebook',
  showChanges: 'jupyter-codeagent:show-changes'
} as const;
