/** What the panel shows and does; no DOM here. */

import type { NotebookPanel } from '@jupyterlab/notebook';
import type { TranslationBundle } from '@jupyterlab/translation';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import type { IFinding, IModels, Server } from '../server';
import { type StampWatch, stampWatch } from '../stamp/watch';
import type { IAgentCells, INotebookWork } from '../tokens';
import { sentenceOf } from '../values';
import { Changes } from './changes';
import { complete, type ICompletion } from './completion';
import { withoutQuotes } from './compose';
import type { Folds } from './folds';
import { TaskHistory } from './history';
import { askInfo, type IInfo } from './info';
import { commandOffers, currentCell, thingOffers } from './offers';
import { type Attachment, sameAttachment } from './requests';
import { Saving } from './saving';
import type { PanelSettings } from './settings';
import { Verifying } from './verifying';

const FRESH = 1500; // milliseconds for which variables and files are not asked for again

/** What the user is writing, one for each notebook. */
export interface IDraft {
  text: string;
  attachments: Attachment[];
  readonly history: TaskHistory;
}

/** Something said to the user that is no part of the record. */
export interface INotice {
  kind: 'error' | 'said' | 'help';
  text: string;
}

export interface IModelOptions {
  cells: IAgentCells;
  server: Server;
  settings: PanelSettings;
  folds: Folds;
  trans: TranslationBundle;
}

export class PanelModel implements IDisposable {
  readonly saving = new Saving();
  readonly verifying: Verifying;
  readonly changes = new Changes();
  readonly settings: PanelSettings;
  readonly folds: Folds;
  readonly trans: TranslationBundle;

  constructor(options: IModelOptions) {
    this._cells = options.cells;
    this._server = options.server;
    this.settings = options.settings;
    this.folds = options.folds;
    this.trans = options.trans;
    this.verifying = new Verifying(options.server, options.trans);
    this._cells.currentChanged.connect(this._onCurrent);
    this.settings.changed.connect(this._revise);
    this.folds.changed.connect(this._revise);
    this.saving.changed.connect(this._emit);
    this.verifying.changed.connect(this._emit);
    this.changes.changed.connect(this._emit);
    this._onCurrent();
    void this._askServer();
  }

  get changed(): ISignal<PanelModel, void> {
    return this._changed;
  }

  /** The box should take the focus. */
  get focusRequested(): ISignal<PanelModel, void> {
    return this._focusRequested;
  }

  /** Of the active notebook; null where none is open. */
  get work(): INotebookWork | null {
    return this._work;
  }

  /** What the stamp of the active notebook is worth; null where none is open. */
  get stamp(): StampWatch | null {
    return this._stamp;
  }

  /** Another one whenever the tasks, or how they are shown, may have changed. */
  get revision(): number {
    return this._revision;
  }

  get info(): IInfo | null {
    return this._info;
  }

  /** What does not work on the server's machine. */
  get problems(): IFinding[] {
    return this._findings.filter(({ ok }) => !ok);
  }

  /** Null where the server cannot say. */
  get models(): IModels | null {
    return this._models;
  }

  /** The server can verify notebooks, or has not said that it cannot. */
  get verifiable(): boolean {
    return this._models !== null || !this._answered;
  }

  get notice(): INotice | null {
    return this._notice;
  }

  /** Ask before each execution, in the tasks that are sent from here. */
  get review(): boolean {
    return this._review;
  }

  set review(value: boolean) {
    this._review = value;
    this._emit();
  }

  /** What is asked where the user chooses nothing; empty where that is not known yet. */
  get defaultModel(): string {
    return this._info?.model || this._models?.default?.name || '';
  }

  get chosenModel(): string {
    return this.settings.get('defaultModel') || this.defaultModel;
  }

  /** The isolation that is in force; empty before the sandbox is started. */
  get tier(): string {
    return this._info?.tier ?? '';
  }

  /** What will leave the machine with the next task; empty where that is not known yet. */
  get told(): string {
    const name = this.chosenModel;
    if (name === this.defaultModel) {
      return this._info?.told || this._models?.default?.told || '';
    }
    const model = this._models?.models.find(known => known.name === name);
    return model
      ? this.trans.__(
          '%1 is asked (%2); it is told the task, the cells above and the variables by name and type.',
          name,
          model.where
        )
      : this.trans.__(
          '%1 is asked by the endpoint that is configured; it is told the task, the cells above and the variables by name and type.',
          name
        );
  }

  get costs(): boolean {
    return this.settings.get('showCosts') && this._info?.costs !== false;
  }

  get draft(): IDraft {
    const panel = this._work?.panel ?? null;
    let draft = panel ? this._drafts.get(panel) : this._none;
    if (!draft) {
      draft = { text: '', attachments: [], history: new TaskHistory() };
      this._drafts.set(panel!, draft);
    }
    return draft;
  }

  write(text: string): void {
    this.draft.text = text;
    this._emit();
  }

  attach(item: Attachment): void {
    const { attachments } = this.draft;
    if (!attachments.some(other => sameAttachment(item, other))) {
      this.draft.attachments = [...attachments, item];
      this._emit();
    }
  }

  attachActiveCell(): void {
    const item = this._work && currentCell(this._work.panel);
    if (item) {
      this.attach(item);
    }
  }

  detach(item: Attachment): void {
    this.draft.attachments = this.draft.attachments.filter(
      other => !sameAttachment(item, other)
    );
    this._emit();
  }

  /** The tasks that the user wrote in this notebook, the oldest first. */
  get written(): string[] {
    return (this._work?.tasks ?? []).map(task => withoutQuotes(task.text));
  }

  /** Return what fits the letters before the caret. */
  completion(text: string, caret: number): ICompletion | null {
    return complete(text, caret, commandOffers(this.trans), () => {
      void this.refresh();
      return this._work
        ? thingOffers(this._work.panel, this._info, this.trans)
        : [];
    });
  }

  /** Ask the kernel again what it has, unless that was a moment ago; resolves when that is known. */
  refresh(): Promise<void> {
    const work = this._work;
    if (work && Date.now() - this._asked >= FRESH) {
      this._asked = Date.now();
      this._asking = this._ask(work);
    }
    return this._asking;
  }

  /** Show how a verification stands, or what it found. */
  showVerification(): void {
    this.changes.show(false);
    this.verifying.show(true);
  }

  /** Show the files that the sandbox has changed, as they are now. */
  showChanges(): void {
    const work = this._work;
    if (work) {
      this.verifying.show(false);
      this.changes.show(true);
      void this.changes.refresh(work);
    }
  }

  say(notice: INotice | null): void {
    this._notice = notice;
    this._emit();
  }

  /** Do something for the user; what goes wrong is said. Returns whether it was done. */
  async act(deed: () => Promise<unknown>): Promise<boolean> {
    try {
      await deed();
      return true;
    } catch (error) {
      this.say({ kind: 'error', text: sentenceOf(error) });
      return false;
    }
  }

  requestFocus(): void {
    this._focusWanted = true;
    this._focusRequested.emit();
  }

  /** Return whether the focus was asked for, and has not been taken yet. */
  takeFocusRequest(): boolean {
    const wanted = this._focusWanted;
    this._focusWanted = false;
    return wanted;
  }

  get isDisposed(): boolean {
    return this._disposed;
  }

  dispose(): void {
    if (!this._disposed) {
      this._disposed = true;
      this._work?.changed.disconnect(this._onWork);
      this.verifying.close();
      this._stamp?.changed.disconnect(this._emit);
      Signal.clearData(this);
    }
  }

  private readonly _onCurrent = (): void => {
    this._work?.changed.disconnect(this._onWork);
    this._stamp?.changed.disconnect(this._emit);
    this._work = this._cells.current;
    this._work?.changed.connect(this._onWork);
    const notebook = this._work?.panel.content.model ?? null;
    this._stamp = notebook && stampWatch(notebook);
    this._stamp?.changed.connect(this._emit);
    this._info = null;
    this._notice = null;
    this.changes.clear();
    const { verifying } = this;
    if (verifying.current?.path !== this._work?.panel.context.localPath) {
      verifying.show(false);
    }
    this._seen = '';
    this._asked = 0;
    this._onWork();
  };

  private readonly _onWork = (): void => {
    const work = this._work;
    const seen = work
      ? `${work.connected} ${work.running?.id ?? ''} ${work.running?.record?.tier ?? ''}`
      : '';
    if (seen !== this._seen) {
      this._seen = seen;
      this._asked = 0;
      void this.refresh();
      if (work?.connected && !work.running && work.tasks.length > 0) {
        void this.changes.refresh(work);
      }
    }
    this._revise();
  };

  private async _ask(work: INotebookWork): Promise<void> {
    const info = await askInfo(work);
    if (work === this._work && info) {
      this._info = info;
      this._revise();
    }
  }

  private async _askServer(): Promise<void> {
    await this.act(async () => {
      this._models = await this._server.models();
      this._answered = true;
      this._emit();
      this._findings = (await this._server.doctor()) ?? [];
      this._emit();
    });
  }

  private readonly _revise = (): void => {
    this._revision += 1;
    this._emit();
  };

  private readonly _emit = (): void => {
    this._changed.emit();
  };

  private _cells: IAgentCells;
  private _server: Server;
  private _work: INotebookWork | null = null;
  private _stamp: StampWatch | null = null;
  private _info: IInfo | null = null;
  private _asked = 0;
  private _asking = Promise.resolve();
  private _seen = '';
  private _findings: IFinding[] = [];
  private _models: IModels | null = null;
  private _answered = false;
  private _notice: INotice | null = null;
  private _review = false;
  private _revision = 0;
  private _focusWanted = false;
  private _drafts = new WeakMap<NotebookPanel, IDraft>();
  private _none: IDraft = {
    text: '',
    attachments: [],
    history: new TaskHistory()
  };
  private _disposed = false;
  private _changed = new Signal<PanelModel, void>(this);
  private _focusRequested = new Signal<PanelModel, void>(this);
}
