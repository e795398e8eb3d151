/** The user's settings, read and written; without a registry they last as long as the page. */

import type { ISettingRegistry } from '@jupyterlab/settingregistry';
import { type ISignal, Signal } from '@lumino/signaling';

import { EXTENSION, type IAskOptions } from '../tokens';

const CELLS = `${EXTENSION}:cells`;
const PANEL = `${EXTENSION}:panel`;

interface IValues {
  defaultModel: string;
  attemptsLimit: number;
  candidates: number;
  showCosts: boolean;
  background: boolean;
  showDisclosure: boolean;
}

const PLUGIN: { [K in keyof IValues]: string } = {
  defaultModel: CELLS,
  attemptsLimit: CELLS,
  candidates: CELLS,
  showCosts: CELLS,
  background: PANEL,
  showDisclosure: PANEL
};

export class PanelSettings {
  constructor(private _registry: ISettingRegistry | null) {
    void this._load();
  }

  get changed(): ISignal<PanelSettings, void> {
    return this._changed;
  }

  get<K extends keyof IValues>(name: K): IValues[K] {
    return this._values[name];
  }

  /** Keep a value, also for the next time. Rejects where it cannot be stored. */
  async set<K extends keyof IValues>(
    name: K,
    value: IValues[K]
  ): Promise<void> {
    if (this._values[name] === value) {
      return;
    }
    this._values[name] = value;
    this._changed.emit();
    await this._registry?.set(PLUGIN[name], name, value);
  }

  /** How a task is asked, as the user has set it. */
  askOptions(): IAskOptions {
    const { defaultModel, attemptsLimit, candidates, background } =
      this._values;
    return {
      background,
      ...(defaultModel && { model: defaultModel }),
      ...(attemptsLimit > 0 && { attempts: attemptsLimit }),
      ...(candidates > 0 && { candidates })
    };
  }

  private async _load(): Promise<void> {
    for (const id of [CELLS, PANEL]) {
      try {
        const settings = await this._registry?.load(id);
        settings?.changed.connect(this._read);
        if (settings) {
          this._read(settings);
        }
      } catch {
        continue; // the plugin is disabled: its settings stay as they are by default
      }
    }
  }

  private readonly _read = (settings: ISettingRegistry.ISettings): void => {
    for (const name of Object.keys(PLUGIN) as (keyof IValues)[]) {
      const value = settings.composite[name];
      if (
        PLUGIN[name] === settings.id &&
        typeof value === typeof this._values[name]
      ) {
        Object.assign(this._values, { [name]: value });
      }
    }
    this._changed.emit();
  };

  private _values: IValues = {
    defaultModel: '',
    attemptsLimit: 0,
    candidates: 0,
    showCosts: true,
    background: true,
    showDisclosure: true
  };
  private _changed = new Signal<PanelSettings, void>(this);
}
