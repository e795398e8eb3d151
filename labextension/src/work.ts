/** The agent's work in one notebook panel: what is there, and what the user does with it. */

import {
  type ISessionContextDialogs,
  Notification
} from '@jupyterlab/apputils';
import { type Cell, CodeCell } from '@jupyterlab/cells';
import { NotebookActions, type NotebookPanel } from '@jupyterlab/notebook';
import type { ITranslator, TranslationBundle } from '@jupyterlab/translation';
import type { JSONObject } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { Accepting } from './accepting';
import { agentCell, LOAD, loads } from './agentLine';
import {
  acceptAttempt,
  deleteCells,
  ensureFirstLine,
  isCollapsed,
  setCollapsed,
  taskText
} from './attempts';
import { askAnyway } from './askAnyway';
import { waits } from './candidates';
import type { IEntry } from './cellIndex';
import type { Keeper } from './keeper';
import { oneLine } from './panel/text';
import { unfinished } from './records';
import {
  type IAskOptions,
  type IAttemptView,
  type INotebookWork,
  type IReply,
  type ITaskView,
  KEY
} from './tokens';
import { sentenceOf } from './values';
import { attemptView, isPending, taskViews } from './views';

/** How long accepting waits for what the kernel has to say against it, in milliseconds. */
const WARNING_PATIENCE = 3000;

export interface IWorkOptions {
  panel: NotebookPanel;
  keeper: Keeper;
  dialogs: ISessionContextDialogs | undefined;
  translator: ITranslator;
}

export class NotebookWork implements INotebookWork, IDisposable {
  constructor(options: IWorkOptions) {
    this.panel = options.panel;
    this.keeper = options.keeper;
    this.trans = options.translator.load('jupyter_codeagent');
    this._options = options;
    this.keeper.index.changed.connect(this._soon, this);
    this.keeper.counted.connect(this._soon, this);
    this.keeper.channel.news.connect(this._soon, this);
    this.keeper.channel.connectedChanged.connect(this._soon, this);
    this.panel.disposed.connect(this.dispose, this);
  }

  readonly panel: NotebookPanel;
  readonly keeper: Keeper;
  readonly trans: TranslationBundle;

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  get connected(): boolean {
    return this.keeper.channel.connected;
  }

  get background(): boolean {
    return this.keeper.channel.background;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  get tasks(): readonly ITaskView[] {
    this._tasks ??= this._isDisposed ? [] : taskViews(this.keeper);
    return this._tasks;
  }

  get running(): ITaskView | null {
    const open = this.tasks.filter(
      task => task.record && unfinished(task.record)
    );
    return (
      open.find(task => task.record?.status === 'running') ?? open[0] ?? null
    );
  }

  /** The attempt of the active cell, or null. */
  get activeAttempt(): IAttemptView | null {
    const cell = this.panel.content.activeCell;
    const entry = cell && this.keeper.index.of(cell.model);
    return entry ? attemptView(this.keeper, entry) : null;
  }

  /** The attempts that wait for the user. */
  get pending(): IAttemptView[] {
    return this.tasks.flatMap(task => task.attempts.filter(waits));
  }

  /** The task that the active cell belongs to, or else the last one. */
  get activeTask(): ITaskView | null {
    const id = this.panel.content.activeCell?.model.id;
    const mine = this.tasks.find(
      task =>
        task.cellId === id || task.attempts.some(other => other.cellId === id)
    );
    return mine ?? this.tasks[this.tasks.length - 1] ?? null;
  }

  async ask(task: string, options: IAskOptions, below?: Cell): Promise<string> {
    const { content } = this.panel;
    const anchor = below ?? content.activeCell;
    await this._load();
    const place = anchor ? this._belowGroup(anchor) : content.widgets.length;
    const background = options.background && this.background;
    const text = agentCell(task, { ...options, background });
    const id = this._insert(place, text);
    const cell = this._widget(id);
    if (!cell) {
      throw new Error(this.trans.__('The notebook was closed.'));
    }
    this._activate(cell);
    void this._run(cell);
    return id;
  }

  request(
    type: string,
    payload: Record<string, unknown> = {},
    patience?: number
  ): Promise<IReply> {
    return this.keeper.channel.request(type, payload as JSONObject, patience);
  }

  cellOf(attempt: IAttemptView): CodeCell | null {
    const cell = this._widget(attempt.cellId);
    return cell instanceof CodeCell ? cell : null;
  }

  async accept(attempt: IAttemptView, run: boolean): Promise<void> {
    const entry = this._pending(attempt);
    const [agreed] = entry ? await this._agreed([entry]) : [];
    const cell = this.cellOf(attempt);
    if (!agreed || !cell) {
      return;
    }
    acceptAttempt(this._notebook, cell.model.sharedModel);
    this._activate(cell);
    if (run) {
      await this._run(cell);
    }
  }

  async edit(attempt: IAttemptView): Promise<void> {
    const cell = this.cellOf(attempt);
    if (!cell) {
      return;
    }
    setCollapsed(cell.model.sharedModel, false);
    await this.goTo(attempt.cellId);
    this.panel.content.mode = 'edit';
    const editor = cell.editor;
    if (editor && attempt.record.role === 'attempt' && editor.lineCount > 1) {
      editor.setCursorPosition({ line: 1, column: 0 });
    }
    editor?.focus();
  }

  async runInSandbox(attempt: IAttemptView): Promise<void> {
    const cell = this.cellOf(attempt);
    if (!cell || attempt.record.role !== 'attempt') {
      return;
    }
    const shared = cell.model.sharedModel;
    if (ensureFirstLine(shared, attempt.record)) {
      setCollapsed(shared, false);
      await this._execute(cell, attempt.record);
    }
  }

  /** Solve a task anew, also where it was solved. */
  async solveAgain(task: ITaskView): Promise<void> {
    const cell = this._widget(task.cellId);
    // A task whose agent cell is gone has the cell of an attempt instead.
    if (
      cell instanceof CodeCell &&
      taskText(cell.model.sharedModel.getSource()) !== null
    ) {
      await this._execute(cell, task.record);
    }
  }

  discard(attempt: IAttemptView): Promise<void> {
    return this._discard([attempt]);
  }

  async choose(attempt: IAttemptView): Promise<string> {
    const reply = await this.keeper.choose(attempt.record);
    if (!reply.ok) {
      throw new Error(reply.text);
    }
    return reply.text;
  }

  /** Choose a candidate and say what becomes of it. */
  async chooseAndSay(attempt: IAttemptView): Promise<void> {
    try {
      const said = await this.choose(attempt);
      Notification.info(oneLine(said, 300), { autoClose: 5000 });
    } catch (error) {
      Notification.warning(oneLine(sentenceOf(error), 300));
    }
  }

  async acceptAll(task: ITaskView): Promise<void> {
    const wanted = task.attempts.filter(
      attempt => waits(attempt) && attempt.record.status !== 'failed'
    );
    const entries = wanted.flatMap(attempt => this._pending(attempt) ?? []);
    for (const entry of await this._agreed(entries)) {
      acceptAttempt(this._notebook, entry.model.sharedModel);
    }
  }

  discardAll(task: ITaskView): Promise<void> {
    return this._discard(task.attempts);
  }

  /** Show an attempt as one line, or whole. */
  toggle(attempt: IAttemptView, collapsed?: boolean): void {
    const shared = this.cellOf(attempt)?.model.sharedModel;
    if (shared) {
      setCollapsed(shared, collapsed ?? !isCollapsed(shared));
    }
  }

  async goTo(cellId: string): Promise<void> {
    const cell = this._widget(cellId);
    if (cell) {
      this._activate(cell);
      // Not scrollToCell, which puts the cursor into the editor.
      await this.panel.content.scrollToItem(this._index(cellId), 'smart');
    }
  }

  /** Scroll to a cell and leave the focus where it is. */
  follow(cellId: string): void {
    const index = this._index(cellId);
    if (index >= 0) {
      void this.panel.content.scrollToItem(index, 'auto');
    }
  }

  /** Go to the next (1) or previous (-1) attempt that waits for the user. */
  async goToNext(step: 1 | -1): Promise<void> {
    const { content } = this.panel;
    const places = this.pending
      .map(attempt => this._index(attempt.cellId))
      .filter(index => index >= 0)
      .sort((a, b) => step * (a - b));
    const from = content.activeCellIndex;
    const next = places.find(index => step * (index - from) > 0) ?? places[0];
    if (next !== undefined) {
      await this.goTo(content.widgets[next].model.id);
    }
  }

  showMissing(task: ITaskView): Promise<void> {
    this.keeper.showMissing(task.id);
    return Promise.resolve();
  }

  async stop(task?: ITaskView): Promise<void> {
    const stopped = task ?? this.running;
    if (!stopped?.record) {
      return;
    }
    if (stopped.record.background) {
      await this.request('stop', { task: stopped.id });
    } else {
      await this.panel.sessionContext.session?.kernel?.interrupt();
    }
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    window.cancelAnimationFrame(this._frame);
    Signal.clearData(this);
  }

  private get _notebook() {
    return this.panel.context.model.sharedModel;
  }

  private _soon(): void {
    this._tasks = null;
    if (!this._frame) {
      this._frame = window.requestAnimationFrame(() => {
        this._frame = 0;
        this._changed.emit();
      });
    }
  }

  /** Return the entry of an attempt that can be accepted, or null. */
  private _pending(attempt: IAttemptView): IEntry | null {
    const entry = this._entry(attempt.cellId);
    return entry?.attempt?.role === 'attempt' ? entry : null;
  }

  private _entry(cellId: string): IEntry | null {
    const cell = this._isDisposed ? null : this._widget(cellId);
    return cell && this.keeper.index.of(cell.model);
  }

  /** Return those of the attempts that are to be accepted, and are still what was asked about. */
  private _agreed(entries: readonly IEntry[]): Promise<IEntry[]> {
    return this._accepting.agreed(
      entries,
      asked => this._mayAccept(asked),
      entry => this._entry(entry.id)
    );
  }

  /** Whether the kernel has nothing against these attempts, or the user wants them anyway. */
  private async _mayAccept(entries: readonly IEntry[]): Promise<boolean> {
    if (!this.connected) {
      return true;
    }
    const answers = entries.map(async ({ attempt, code }) => {
      const payload = {
        task: attempt?.task ?? '',
        attempt: attempt?.attempt ?? 0,
        code,
        ask: true
      };
      const reply = await this.keeper.channel
        .request('accept', payload, WARNING_PATIENCE)
        .catch(() => null);
      return reply?.ok ? reply.text : '';
    });
    const warnings = (await Promise.all(answers)).filter(text => text);
    return warnings.length === 0 || askAnyway(warnings, this.trans);
  }

  private _discard(attempts: readonly IAttemptView[]): Promise<void> {
    const cells = attempts
      .filter(isPending)
      .flatMap(attempt => this.cellOf(attempt) ?? []);
    if (cells.length > 0) {
      deleteCells(
        this._notebook,
        cells.map(cell => cell.model.sharedModel)
      );
      this.panel.content.activeCell?.node.focus({ preventScroll: true });
    }
    return Promise.resolve();
  }

  /** Have the magics loaded by a cell that everybody sees. */
  private async _load(): Promise<void> {
    if (this.connected) {
      return;
    }
    const found = this.panel.content.widgets.find(
      cell =>
        cell.model.type === 'code' && loads(cell.model.sharedModel.getSource())
    );
    const cell = found ?? this._widget(this._insert(0, LOAD));
    if (cell) {
      await this._run(cell);
    }
  }

  /** Return where a cell goes that belongs below `anchor` and what the agent put under it. */
  private _belowGroup(anchor: Cell): number {
    const task = this.tasks.find(
      view =>
        view.cellId === anchor.model.id ||
        view.attempts.some(attempt => attempt.cellId === anchor.model.id)
    );
    const places = (task?.attempts ?? []).map(a => this._index(a.cellId));
    return Math.max(this._index(anchor.model.id), ...places) + 1;
  }

  private _insert(place: number, source: string): string {
    return this._notebook.insertCell(place, {
      cell_type: 'code',
      source,
      metadata: { trusted: true }
    }).id;
  }

  private _index(cellId: string): number {
    return this.panel.content.widgets.findIndex(
      cell => cell.model.id === cellId
    );
  }

  private _widget(cellId: string): Cell | null {
    return this.panel.content.widgets[this._index(cellId)] ?? null;
  }

  private _activate(cell: Cell): void {
    const { content } = this.panel;
    content.deselectAll();
    content.activeCellIndex = content.widgets.indexOf(cell);
    content.mode = 'command';
    cell.node.focus({ preventScroll: true });
  }

  private _run(cell: Cell): Promise<boolean> {
    const { content, sessionContext } = this.panel;
    return NotebookActions.runCells(
      content,
      [cell],
      sessionContext,
      this._options.dialogs,
      this._options.translator
    );
  }

  /** Run a cell anew, also where the kernel has a record of it. */
  private async _execute(cell: CodeCell, record: object | null): Promise<void> {
    const { sessionContext } = this.panel;
    const { again } = this.keeper.channel;
    const metadata = { [KEY]: { ...record, again } } as unknown as JSONObject;
    try {
      await CodeCell.execute(cell, sessionContext, metadata);
    } catch (reason) {
      // That it failed, or was taken back by a restart, is what the cell shows.
      if (
        !sessionContext.isDisposed &&
        !/^(KernelReplyNotOK|Canceled)/.test(
          reason instanceof Error ? reason.message : ''
        )
      ) {
        throw reason;
      }
    }
  }

  private readonly _options: IWorkOptions;
  private readonly _accepting = new Accepting();
  private _tasks: ITaskView[] | null = null;
  private _frame = 0;
  private _isDisposed = false;
  private readonly _changed = new Signal<this, void>(this);
}
