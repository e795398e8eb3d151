/** What the stamp of the active notebook is worth, in the status bar; loaded with the first notebook that has one. */

import type { TranslationBundle } from '@jupyterlab/translation';
import {
  checkIcon,
  closeIcon,
  editIcon,
  type LabIcon
} from '@jupyterlab/ui-components';
import { type ISignal, Signal } from '@lumino/signaling';
import { Widget } from '@lumino/widgets';

import type { IAgentCells } from '../tokens';
import { type Standing, stampDetails, stampWords } from './stamp';
import { type StampWatch, stampWatch } from './watch';

const ICONS: Record<Standing, LabIcon> = {
  verified: checkIcon,
  failed: closeIcon,
  edited: editIcon
};

export class StampItem extends Widget {
  /**
   * @param open - Called when the user wants to know more.
   */
  constructor(
    private _cells: IAgentCells,
    private _trans: TranslationBundle,
    open: () => void
  ) {
    super();
    this.addClass('jp-codeagent-StatusItem');
    this._button.type = 'button';
    this._button.onclick = open;
    this._icon.setAttribute('aria-hidden', 'true');
    this._words.className = 'jp-codeagent-Stamp-words';
    this._button.append(this._icon, this._words);
    this.node.append(this._button);
    _cells.currentChanged.connect(this._onCurrent);
    this._onCurrent();
  }

  get isActive(): boolean {
    return this._active;
  }

  get activeChanged(): ISignal<StampItem, void> {
    return this._activeChanged;
  }

  override dispose(): void {
    this._watch?.changed.disconnect(this._update);
    Signal.clearData(this);
    super.dispose();
  }

  private readonly _onCurrent = (): void => {
    this._watch?.changed.disconnect(this._update);
    const notebook = this._cells.current?.panel.content.model ?? null;
    this._watch = notebook && stampWatch(notebook);
    this._watch?.changed.connect(this._update);
    this._update();
  };

  private readonly _update = (): void => {
    const { stamp = null, standing = null } = this._watch ?? {};
    if (stamp && standing) {
      this._words.textContent = stampWords(stamp, standing, this._trans);
      this._button.title = stampDetails(stamp, standing, this._trans);
      this._icon.dataset.status = standing;
      this._icon.replaceChildren(
        ICONS[standing].element({ width: '14px', height: '14px' })
      );
    }
    const active = standing !== null;
    if (this._active !== active) {
      this._active = active;
      this._activeChanged.emit();
    }
  };

  private _watch: StampWatch | null = null;
  private _active = false;
  private _activeChanged = new Signal<StampItem, void>(this);
  private _button = document.createElement('button');
  private _icon = document.createElement('span');
  private _words = document.createElement('span');
}
