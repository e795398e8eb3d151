/** The connection with the magics of a notebook's kernel: what they tell, and what we ask them. */

import type { ISessionContext } from '@jupyterlab/apputils';
import { type Kernel, KernelMessage, type Session } from '@jupyterlab/services';
import { type JSONObject, UUID } from '@lumino/coreutils';
import type { IDisposable } from '@lumino/disposable';
import { type ISignal, Signal } from '@lumino/signaling';

import { onlyListen } from './listening';
import { claim, Sessions } from './sessions';
import { type IChange, TaskStore } from './store';
import { CONTROL, EVENTS, type IReply } from './tokens';
import { type IWire, openWire } from './wire';

/** How long an answer may take, in milliseconds. */
const PATIENCE = 10_000;

/** What the kernel told. */
export interface INews extends IChange {
  /** It was told because we asked for all there is, not because it just happened. */
  readonly synced: boolean;
}

/** What we ask the kernel about when we come: the notebook's agent cells and tasks. */
export type Known = { cells: string[]; tasks: string[] };

interface IWaiting {
  resolve: (reply: IReply) => void;
  reject: (reason: Error) => void;
}

export class KernelChannel implements IDisposable {
  constructor(context: ISessionContext, ours: () => Known) {
    this._context = context;
    this._ours = ours;
    context.kernelChanged.connect(this._onKernelChanged, this);
    context.statusChanged.connect(this._onStatus, this);
    context.connectionStatusChanged.connect(this._onConnection, this);
    context.iopubMessage.connect(this._onMessage, this);
    this._attach(context.session?.kernel ?? null);
  }

  /** What the kernel has told of its tasks. */
  readonly store = new TaskStore();

  /** The kernel told something of a task. */
  get news(): ISignal<this, INews> {
    return this._news;
  }

  /** The kernel said which of the notebook's tasks it knows; none where it has not our magics. */
  get synced(): ISignal<this, readonly string[]> {
    return this._synced;
  }

  /** The kernel restarted, died, or is another one. */
  get ended(): ISignal<this, void> {
    return this._ended;
  }

  /** `sessions` are others. */
  get sessionsChanged(): ISignal<this, void> {
    return this._sessionsChanged;
  }

  /** `connected` is another, or `background`. */
  get connectedChanged(): ISignal<this, void> {
    return this._connectedChanged;
  }

  /** The kernel has our magics and can be asked. */
  get connected(): boolean {
    return this._control !== null;
  }

  /** The word by which this kernel knows that a button of ours asked for another run, not a notebook's metadata. */
  get again(): string {
    return this._again;
  }

  /** Whether tasks can work in the background of this kernel. */
  get background(): boolean {
    return this._background;
  }

  /** The ids by which the kernel knows this tab. */
  get sessions(): readonly string[] {
    return this._own;
  }

  get isDisposed(): boolean {
    return this._isDisposed;
  }

  /** Ask the kernel; rejects after `patience` milliseconds (0: never). */
  async request(
    type: string,
    payload: JSONObject = {},
    patience = PATIENCE
  ): Promise<IReply> {
    const control = this._control;
    if (!control) {
      throw new Error(
        'The agent is not loaded in the kernel of this notebook.'
      );
    }
    const request = UUID.uuid4();
    const reply = new Promise<IReply>((resolve, reject) => {
      this._waiting.set(request, { resolve, reject });
      if (patience > 0) {
        window.setTimeout(
          () => this._giveUp(request, `The kernel did not answer "${type}".`),
          patience
        );
      }
    });
    try {
      control.send({ ...payload, request, type });
    } catch (reason) {
      this._giveUp(request, String(reason));
    }
    return reply;
  }

  dispose(): void {
    if (this._isDisposed) {
      return;
    }
    this._isDisposed = true;
    this._detach();
    Signal.clearData(this);
  }

  private _onKernelChanged(
    _: ISessionContext,
    change: Session.ISessionConnection.IKernelChangedArgs
  ): void {
    this._detach();
    if (change.oldValue) {
      this._ended.emit();
    }
    this._attach(this._context.session?.kernel ?? null);
  }

  private _onStatus(_: ISessionContext, status: Kernel.Status): void {
    if (['restarting', 'autorestarting', 'dead'].includes(status)) {
      this._forget();
      this._ended.emit();
    }
  }

  private _onConnection(_: ISessionContext, status: string): void {
    if (status === 'connected' && this._lost && this._control) {
      void this._sync();
    }
    this._lost = status !== 'connected';
  }

  /** Begin to listen to a kernel, and look whether it has our magics. */
  private _attach(kernel: Kernel.IKernelConnection | null): void {
    this._kernel = kernel;
    if (!kernel) {
      return;
    }
    this._sessions = new Sessions(kernel.id);
    const earlier = this._sessions.all;
    this._sessions.add(kernel.clientId);
    this._setOwn([kernel.clientId]);
    void claim(kernel.clientId);
    earlier.forEach(session => void this._claim(kernel, session));
    if (this._sessions.comm) {
      this._adopt(kernel, this._sessions.comm);
    }
    void this._look(kernel);
  }

  /** Go on with what an earlier page of this tab began. */
  private async _claim(
    kernel: Kernel.IKernelConnection,
    session: string
  ): Promise<void> {
    if ((await claim(session)) && kernel === this._kernel) {
      this._setOwn([...this._own, session]);
    }
  }

  /** Find the comm that the kernel opened before we came. */
  private async _look(kernel: Kernel.IKernelConnection): Promise<void> {
    try {
      await kernel.info;
      const reply = await kernel.requestCommInfo({ target_name: EVENTS });
      if (kernel !== this._kernel || this._isDisposed) {
        return;
      }
      const comms =
        reply.content.status === 'ok' ? Object.keys(reply.content.comms) : [];
      if (comms.length > 0) {
        this._adopt(kernel, comms[comms.length - 1]);
        await this._openControl(kernel);
      } else if (!this._control && !this._opening) {
        this._synced.emit([]);
      }
    } catch {
      // The kernel went away meanwhile; its successor will be looked at.
    }
  }

  private _adopt(kernel: Kernel.IKernelConnection, id: string): void {
    this._events = id;
    if (this._sessions && this._sessions.comm !== id) {
      this._sessions.comm = id;
    }
    if (kernel.handleComms && !kernel.hasComm(id)) {
      onlyListen(kernel.createComm(EVENTS, id));
    }
  }

  private async _openControl(kernel: Kernel.IKernelConnection): Promise<void> {
    if (this._control || this._opening) {
      return;
    }
    const opening = {};
    this._opening = opening;
    try {
      const data = { version: 1, session: kernel.clientId };
      const wire = await openWire(kernel, CONTROL, data);
      if (this._opening !== opening || this._isDisposed) {
        wire.close();
        return;
      }
      this._control = wire;
      this._connectedChanged.emit();
      await this._sync();
      this._connectedChanged.emit(); // what the kernel can do is known now
    } finally {
      if (this._opening === opening) {
        this._opening = null;
      }
    }
  }

  private async _sync(): Promise<void> {
    try {
      const reply = await this.request('sync', this._ours(), 0);
      const known = Array.isArray(reply.known)
        ? (reply.known as unknown[])
        : [];
      this._again = typeof reply.again === 'string' ? reply.again : '';
      this._background = reply.background !== false;
      this._synced.emit(known.filter(task => typeof task === 'string'));
    } catch {
      // The kernel ended before it answered; that is told by its own signal.
    }
  }

  private _onMessage(
    _: ISessionContext,
    message: KernelMessage.IMessage
  ): void {
    if (KernelMessage.isCommOpenMsg(message)) {
      this._onOpen(message);
    } else if (KernelMessage.isCommCloseMsg(message)) {
      if (message.content.comm_id === this._events) {
        this._forget();
      }
    } else if (KernelMessage.isCommMsgMsg(message)) {
      const { comm_id, data } = message.content;
      if (comm_id === this._events) {
        this._take(data, false);
      } else if (comm_id === this._control?.id) {
        this._onControl(data);
      }
    }
  }

  private _onOpen(message: KernelMessage.ICommOpenMsg): void {
    const kernel = this._kernel;
    const { target_name, comm_id } = message.content;
    if (target_name !== EVENTS || !kernel) {
      return;
    }
    if (comm_id === this._events && (this._control || this._opening)) {
      return; // told again, for pages that missed it
    }
    this._forget();
    this._events = comm_id;
    if (this._sessions) {
      this._sessions.comm = this._events;
    }
    void this._openControl(kernel);
  }

  private _onControl(data: JSONObject): void {
    const request = typeof data.request === 'string' ? data.request : '';
    const waiting = this._waiting.get(request);
    if (!waiting) {
      this._take(data, true);
      return;
    }
    this._waiting.delete(request);
    waiting.resolve({
      ...data,
      ok: data.ok === true,
      text: typeof data.text === 'string' ? data.text : ''
    });
  }

  private _take(data: JSONObject, synced: boolean): void {
    const change = this.store.take(data);
    if (change) {
      this._news.emit({ ...change, synced });
    }
    if (change?.attempt && !change.attempt.whole && !this._resyncing) {
      this._resyncing = true;
      void this._resync();
    }
  }

  /** Ask for everything again, as a message came that does not fit what we know. */
  private async _resync(): Promise<void> {
    if (this._control) {
      await this._sync();
    }
    this._resyncing = false;
  }

  private _giveUp(request: string, reason: string): void {
    this._waiting.get(request)?.reject(new Error(reason));
    this._waiting.delete(request);
  }

  /** The magics are gone, or new. */
  private _forget(): void {
    const was = this.connected;
    this._again = '';
    this._background = true;
    this._events = '';
    this._control = null;
    this._opening = null;
    this.store.clear();
    for (const request of [...this._waiting.keys()]) {
      this._giveUp(request, 'The kernel ended before it answered.');
    }
    if (was) {
      this._connectedChanged.emit();
    }
  }

  private _detach(): void {
    try {
      this._control?.close();
    } catch {
      // The connection is closed, and the comm with it.
    }
    this._forget();
    this._kernel = null;
    this._sessions = null;
    this._setOwn([]);
  }

  private _setOwn(sessions: readonly string[]): void {
    this._own = sessions;
    this._sessionsChanged.emit();
  }

  private readonly _context: ISessionContext;
  private readonly _ours: () => Known;
  private _kernel: Kernel.IKernelConnection | null = null;
  private _sessions: Sessions | null = null;
  private _own: readonly string[] = [];
  private _again = '';
  private _background = true;
  private _events = '';
  private _control: IWire | null = null;
  /** Another object for each control comm that is being opened. */
  private _opening: object | null = null;
  private _lost = false;
  private _resyncing = false;
  private _isDisposed = false;
  private readonly _waiting = new Map<string, IWaiting>();
  private readonly _news = new Signal<this, INews>(this);
  private readonly _synced = new Signal<this, readonly string[]>(this);
  private readonly _ended = new Signal<this, void>(this);
  private readonly _sessionsChanged = new Signal<this, void>(this);
  private readonly _connectedChanged = new Signal<this, void>(this);
}
