/** Keeps the cells of one notebook in step with what its kernel tells, and the kernel with what the user does. */

import type { ISharedCodeCell } from '@jupyter/ydoc';
import type { IMimeBundle, IOutput } from '@jupyterlab/nbformat';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import {
  attemptIn,
  chooseAttempt,
  distrust,
  findAgentCell,
  insertAttempt,
  markStopped,
  placeOfWork,
  setCollapsed,
  taskIn,
  writeAttempt,
  writeCode,
  writeEnd,
  writeOutputs,
  writeTask
} from './attempts';
import { agree, isCandidate, isPassedOver } from './candidates';
import { CellIndex, type IEntry, keyOf } from './cellIndex';
import { type INews, KernelChannel, type Known } from './channel';
import { Choosing } from './choosing';
import { owns, publish } from './ownership';
import { unfinished } from './records';
import type { IAttemptState, ITaskState } from './store';
import type { IAttemptRecord, IReply } from './tokens';
import { record } from './values';
import { isWritable, type NotebookContext } from './writable';

/** How long after its end the page that ran a task may take to show it, in milliseconds. */
const LATE = 1000;

/** What the kernel was last told, or would have been, of an attempt. */
type Told = 'attempt' | 'accepted' | 'discarded';

export interface IKeeperOptions {
  context: NotebookContext;
  /** Whether failed attempts become one line when a later one succeeds. */
  collapseFailed: () => boolean;
  /** What is written where a task's kernel ended. */
  endedReason: string;
}

export class Keeper implements IDisposable {
  constructor(options: IKeeperOptions) {
    this._options = options;
    const { context } = options;
    this.index = new CellIndex(context.model);
    this.channel = new KernelChannel(context.sessionContext, () =>
      this._known()
    );
    this._choosing = new Choosing(this.index, this.channel, (cell, attempt) =>
      this._write(cell, attempt)
    );
    this._remember();
    this._publish();
    this.index.changed.connect(this._soon, this);
    this.channel.news.connect(this._onNews, this);
    this.channel.synced.connect(this._onSynced, this);
    this.channel.ended.connect(() => this._onSynced(this.channel, []));
    this.channel.sessionsChanged.connect(this._publish, this);
    context.disposed.connect(this.dispose, this);
  }

  readonly index: CellIndex;
  readonly channel: KernelChannel;

  /** An attempt's cell was inserted; its id. */
  get inserted(): ISignal<this, string> {
    return this._inserted;
  }

  /** `discarded` is another. */
  get counted(): ISignal<this, void> {
    return this._counted;
  }

  /** Cells can be inserted. */
  get writable(): boolean {
    return isWritable(this._options.context);
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Return the latest task that the kernel knows of an agent cell, or null. */
  liveTask(cellId: string): ITaskState | null {
    let found: ITaskState | null = null;
    for (const task of this.channel.store.tasks.values()) {
      if (task.cell === cellId) {
        found = task;
      }
    }
    return found;
  }

  /** Return the attempts of a task that the kernel knows and the notebook lacks. */
  missing(taskId: string): IAttemptState[] {
    const task = this.channel.store.tasks.get(taskId);
    return [...(task?.attempts.values() ?? [])].filter(
      ({ record }) =>
        record.status !== 'discarded' &&
        this._told.get(keyOf(record)) !== 'discarded' &&
        !this.index.find(record.task, record.attempt)
    );
  }

  /** How many attempts of a task the user discarded, candidates left out that were not chosen. */
  discarded(taskId: string): number {
    const task = this.channel.store.tasks.get(taskId);
    return [...this._told].filter(([key, told]) => {
      const number = Number(key.slice(taskId.length + 1));
      return (
        told === 'discarded' &&
        key.startsWith(`${taskId}.`) &&
        task?.attempts.get(number)?.record.chosen !== false
      );
    }).length;
  }

  /** Have the task go on from this candidate: one step of undo, where the kernel agrees. */
  async choose(record: IAttemptRecord): Promise<IReply> {
    const reply = await this._choosing.choose(record);
    const cells = this._choosing.outcome(record);
    if (reply.ok && !this._isDisposed && cells.size > 0) {
      chooseAttempt(this._notebook, cells);
      this._choosing.fold(record);
      this._choosing.remember();
    }
    return reply;
  }

  /** Insert the attempts of a task that the notebook lacks. */
  showMissing(taskId: string): void {
    const task = this.channel.store.tasks.get(taskId);
    if (!task || !this.writable) {
      return;
    }
    for (const attempt of this.missing(taskId)) {
      this._insert(task, attempt);
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.clearTimeout(this._timer);
    this.channel.dispose();
    this.index.dispose();
    Signal.clearData(this);
  }

  private get _notebook() {
    return this._options.context.model.sharedModel;
  }

  private _known(): Known {
    const agents = this.index.entries.filter(entry => entry.text !== null);
    const tasks = this.index.entries.map(
      entry => (entry.task ?? entry.attempt)?.task ?? ''
    );
    return {
      cells: agents.map(entry => entry.id),
      tasks: [...new Set(tasks)].filter(task => task)
    };
  }

  // -- from the kernel to the cells ---------------------------------------------------------------

  private _onNews(_: KernelChannel, news: INews): void {
    if (this._isDisposed || !this.writable) {
      return;
    }
    const mine = owns(this._notebook, this.channel.sessions, news.task);
    if (news.attempt) {
      this._onAttempt(news, news.attempt, mine);
    } else {
      this._onTask(news, mine);
    }
  }

  private _onTask({ task, synced }: INews, mine: boolean): void {
    const cell = findAgentCell(this._notebook, task.cell, task.source);
    if (!cell || !task.record) {
      return;
    }
    const before = taskIn(cell);
    if (synced && before?.task === task.id && !unfinished(before)) {
      this._settled.add(task.id);
    }
    if (mine) {
      task.cell = cell.id;
      writeTask(cell, task.record);
      if (!unfinished(task.record) && placeOfWork(cell) >= 0) {
        window.setTimeout(() => void this._showEnd(task.id, cell), LATE);
      }
    }
  }

  /** Show a task's end below its cell, where the page that showed its begin was closed meanwhile. */
  private async _showEnd(task: string, cell: ISharedCodeCell): Promise<void> {
    if (!this._isDisposed && !cell.isDisposed && placeOfWork(cell) >= 0) {
      const reply = await this.channel
        .request('record', { task })
        .catch(() => null);
      if (reply?.ok && !cell.isDisposed) {
        writeEnd(cell, record(reply.display) as IMimeBundle);
      }
    }
  }

  private _onAttempt(
    { task, synced }: INews,
    attempt: IAttemptState,
    mine: boolean
  ): void {
    const { record } = attempt;
    const cell = this.index.sharedCell(record.task, record.attempt);
    if (!cell) {
      this._discardEnded(attempt);
      const old = task.replayed || (synced && this._settled.has(task.id));
      const gone =
        record.status === 'discarded' || this._seen.has(keyOf(record));
      if (mine && !old && !gone) {
        this._insert(task, attempt);
      }
      return;
    }
    const now = attemptIn(cell);
    const grows = now && [now.status, record.status].includes('running');
    if (grows ? mine : !synced && !this._asking(record)) {
      this._write(cell, attempt);
    }
  }

  private _insert(task: ITaskState, attempt: IAttemptState): void {
    const { record } = attempt;
    const cell = insertAttempt(this._notebook, task.cell, record);
    if (cell) {
      this._seen.add(keyOf(record));
      this._write(cell, attempt);
      this._inserted.emit(cell.id);
    }
  }

  /** Bring a cell to what the kernel says of it; what the user may have changed stays. */
  private _write(cell: ISharedCodeCell, attempt: IAttemptState): void {
    const now = attemptIn(cell);
    if (!now || now.role === 'accepted') {
      return;
    }
    // A number whose code was withdrawn is used for other code: then it grows again.
    const grows = [now.status, attempt.record.status].includes('running');
    if (grows && !attempt.whole) {
      return; // all of it comes when the kernel has time to answer
    }
    if (grows) {
      writeCode(cell, attempt.record, attempt.code);
      const before = this._written.get(cell) ?? cell.getOutputs();
      this._written.set(cell, writeOutputs(cell, before, attempt.outputs));
    }
    const next: IAttemptRecord = { ...attempt.record, role: 'attempt' };
    if (!isCandidate(next) || !agree(now, next)) {
      writeAttempt(cell, next); // else undo and redo of the user's choice stay possible
    }
    if (isPassedOver(now) !== isPassedOver(next)) {
      setCollapsed(cell, isPassedOver(next));
    }
    const good = (record: IAttemptRecord) =>
      record.status === 'succeeded' && record.chosen !== false;
    if (!good(now) && good(next)) {
      this._collapseFailed(next);
    }
  }

  private _collapseFailed(succeeded: IAttemptRecord): void {
    if (!this._options.collapseFailed()) {
      return;
    }
    for (const { attempt, model } of this.index.entries) {
      if (
        attempt?.task === succeeded.task &&
        attempt.role === 'attempt' &&
        attempt.status === 'failed' &&
        (isCandidate(attempt)
          ? (attempt.round ?? 0) < (succeeded.round ?? 0)
          : attempt.attempt < succeeded.attempt)
      ) {
        setCollapsed(model.sharedModel, true);
      }
    }
  }

  private _onSynced(_: KernelChannel, known: readonly string[]): void {
    if (this._isDisposed || !this.writable) {
      return;
    }
    markStopped(this._notebook, known, this._options.endedReason);
  }

  private _publish(): void {
    publish(this._notebook, this.channel.sessions);
  }

  // -- from the cells to the kernel ---------------------------------------------------------------

  private _soon(): void {
    // Moving a cell is taking it out and putting it in; both have happened when this runs.
    if (!this._timer) {
      this._timer = window.setTimeout(() => {
        this._timer = 0;
        this._tellChanges();
      }, 0);
    }
  }

  private _remember(): void {
    for (const { attempt } of this.index.entries) {
      if (attempt) {
        this._told.set(keyOf(attempt), attempt.role);
        this._seen.add(keyOf(attempt));
      }
    }
    this._choosing.remember();
  }

  /** Tell the kernel what the user, or undo, made of the attempts. */
  private _tellChanges(): void {
    if (this._isDisposed) {
      return;
    }
    const present = new Set<string>();
    for (const entry of this.index.entries) {
      const key = entry.attempt && keyOf(entry.attempt);
      if (entry.attempt && key && !present.has(key)) {
        present.add(key);
        this._tellPresent(key, entry.attempt, entry);
      }
      if (entry.attempt?.role === 'attempt' && entry.model.trusted) {
        // JupyterLab trusts a cell that is run; this one ran in the sandbox.
        entry.model.trusted = false;
        distrust(entry.model.sharedModel);
      }
    }
    this._choosing.tellChanges();
    for (const [key, told] of this._told) {
      if (told === 'attempt' && !present.has(key)) {
        this._told.set(key, 'discarded');
        void this._tell('discard', key);
        this._counted.emit();
      }
    }
  }

  private _tellPresent(
    key: string,
    record: IAttemptRecord,
    entry: IEntry
  ): void {
    const told = this._told.get(key);
    this._told.set(key, record.role);
    if (!told || told === record.role) {
      return;
    }
    if (record.role === 'accepted') {
      void this._tell('accept', key, { code: entry.code });
      return;
    }
    void this._tell('restore', key);
    this._counted.emit();
    const known = this.channel.store.tasks
      .get(record.task)
      ?.attempts.get(record.attempt);
    if (record.status === 'running' && known) {
      this._write(entry.model.sharedModel, known);
    }
  }

  private async _tell(
    type: string,
    key: string,
    more: Record<string, string> = {}
  ): Promise<void> {
    const at = key.lastIndexOf('.');
    const [task, attempt] = [key.slice(0, at), Number(key.slice(at + 1))];
    if (!this.channel.connected) {
      return;
    }
    this._asked.set(key, (this._asked.get(key) ?? 0) + 1);
    const ended = this._isDone(task, attempt);
    // The cells are right in any case; where the kernel does not answer, it is only not told.
    await this.channel
      .request(type, { task, attempt, ...more })
      .catch(() => undefined);
    this._asked.set(key, (this._asked.get(key) ?? 1) - 1);
    const known = this.channel.store.tasks.get(task)?.attempts.get(attempt);
    const cell = this.index.sharedCell(task, attempt);
    if (known && cell && !this._isDisposed && !this._asking(known.record)) {
      this._write(cell, known);
    } else if (known && !cell && !ended) {
      this._discardEnded(known);
    }
  }

  /** Have an attempt discarded whose cell was deleted while it ran, which the kernel refuses until it has ended. */
  private _discardEnded({ record, phase }: IAttemptState): void {
    const key = keyOf(record);
    if (
      phase === 'done' &&
      record.status !== 'discarded' &&
      this._told.get(key) === 'discarded' &&
      !this._asking(record)
    ) {
      void this._tell('discard', key);
    }
  }

  private _isDone(task: string, attempt: number): boolean {
    const known = this.channel.store.tasks.get(task)?.attempts.get(attempt);
    return known?.phase === 'done';
  }

  /** Whether the kernel does not yet know what the user made of the attempt. */
  private _asking(record: IAttemptRecord): boolean {
    return (
      (this._asked.get(keyOf(record)) ?? 0) > 0 || this._choosing.asking(record)
    );
  }

  private readonly _options: IKeeperOptions;
  private readonly _choosing: Choosing;
  private readonly _settled = new Set<string>();
  private readonly _seen = new Set<string>();
  private readonly _told = new Map<string, Told>();
  private readonly _asked = new Map<string, number>();
  private readonly _written = new WeakMap<
    ISharedCodeCell,
    readonly IOutput[]
  >();
  private _timer = 0;
  private _isDisposed = false;
  private readonly _inserted = new Signal<this, string>(this);
  private readonly _counted = new Signal<this, void>(this);
}
