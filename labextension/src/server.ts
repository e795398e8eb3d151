/** The client of the server extension's routes; a server without it is no error. */

import { URLExt } from '@jupyterlab/coreutils';
import { ServerConnection } from '@jupyterlab/services';

import { type IReport, toReport } from './panel/report';
import { list, number, record, string } from './values';

/** One thing that was looked at on the server's machine. */
export interface IFinding {
  name: string;
  ok: boolean;
  detail: string;
  /** One line to run or set; empty where all is well. */
  mend: string;
}

export interface IModel {
  name: string;
  /** Where it is asked. */
  where: string;
  available: boolean;
  detail: string;
}

export interface IModels {
  /** What is asked where the user chooses nothing; null: nothing could be. */
  default: { name: string; told: string } | null;
  /** Why there is no default, and what to do. */
  problem: string;
  models: IModel[];
}

export interface IVerification {
  state: 'running' | 'done' | 'failed' | 'stopped';
  done: number;
  total: number;
  text: string;
  report?: IReport;
}

/** What an answer may have in characters; ours are far smaller. */
const LONGEST = 5_000_000;

export class Server {
  constructor(settings?: ServerConnection.ISettings) {
    this._settings = settings ?? ServerConnection.makeSettings();
  }

  /** What does and does not work on the server's machine; null where the server cannot say. */
  async doctor(): Promise<IFinding[] | null> {
    const found = await this._optional('doctor');
    return found && list(found.findings).map(toFinding);
  }

  /** The models that can be chosen; null where the server cannot say. */
  async models(): Promise<IModels | null> {
    const found = await this._optional('models');
    if (!found) {
      return null;
    }
    const standard = record(found.default);
    return {
      default: found.default
        ? { name: string(standard.name), told: string(standard.told) }
        : null,
      problem: string(found.problem),
      models: list(found.models).map(toModel)
    };
  }

  /**
   * Begin to run a notebook in a fresh sandbox; returns the job.
   *
   * @param path - As the server names it.
   * @param stamp - Whether the server stamps the file.
   * @param unknown - Where it was just saved: the ids of cells whose outputs were not kept.
   */
  async verify(
    path: string,
    stamp: boolean,
    unknown?: readonly string[]
  ): Promise<string> {
    const body = JSON.stringify({ path, stamp, unknown });
    return string((await this._ask('verify', { method: 'POST', body })).job);
  }

  async verification(job: string): Promise<IVerification> {
    const found = await this._ask(`verify/${encodeURIComponent(job)}`, {});
    const states = ['running', 'done', 'failed', 'stopped'] as const;
    return {
      state: states.find(state => state === found.state) ?? 'failed',
      done: number(found.done),
      total: number(found.total),
      text: string(found.text),
      report: found.report ? toReport(found.report) : undefined
    };
  }

  async stopVerification(job: string): Promise<void> {
    await this._ask(`verify/${encodeURIComponent(job)}`, { method: 'DELETE' });
  }

  /** Ask for what a server may not have. */
  private async _optional(
    route: string
  ): Promise<Record<string, unknown> | null> {
    try {
      return await this._ask(route, {});
    } catch (error) {
      if (
        error instanceof ServerConnection.ResponseError ||
        error instanceof ServerConnection.NetworkError
      ) {
        return null;
      }
      throw error;
    }
  }

  private async _ask(
    route: string,
    init: RequestInit
  ): Promise<Record<string, unknown>> {
    const url = URLExt.join(this._settings.baseUrl, 'jupyter-codeagent', route);
    const response = await ServerConnection.makeRequest(
      url,
      init,
      this._settings
    );
    if (!response.ok) {
      throw await ServerConnection.ResponseError.create(response);
    }
    const text = response.status === 204 ? '{}' : await response.text();
    if (text.length > LONGEST) {
      throw new Error(`The server's answer is too long: ${text.length} bytes.`);
    }
    return record(JSON.parse(text || '{}'));
  }

  private _settings: ServerConnection.ISettings;
}

function toFinding(value: unknown): IFinding {
  const found = record(value);
  return {
    name: string(found.name),
    ok: found.ok === true,
    detail: string(found.detail),
    mend: string(found.mend)
  };
}

function toModel(value: unknown): IModel {
  const found = record(value);
  return {
    name: string(found.name),
    where: string(found.where),
    available: found.available === true,
    detail: string(found.detail)
  };
}
