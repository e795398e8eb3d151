/** The user's settings of the cells. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { type ISignal, Signal } from '@lumino/signaling';

export interface ICellSettings {
  followNewAttempts: boolean;
  collapseFailed: boolean;
  showCosts: boolean;
}

const DEFAULTS: ICellSettings = {
  followNewAttempts: false,
  collapseFailed: true,
  showCosts: true
};

/** The settings as they are now; the defaults until, and where, there are none. */
export class CellSettings {
  get values(): Readonly<ICellSettings> {
    return this._values;
  }

  get changed(): ISignal<this, void> {
    return this._changed;
  }

  /** Follow these settings from now on. */
  follow(settings: ISettingRegistry.ISettings): void {
    settings.changed.connect(this._update, this);
    this._update(settings);
  }

  private _update(settings: ISettingRegistry.ISettings): void {
    this._values = { ...DEFAULTS, ...settings.composite };
    this._changed.emit();
  }

  private _values = DEFAULTS;
  private readonly _changed = new Signal<this, void>(this);
}
