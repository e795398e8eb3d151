/** What the kernel says of itself on the control comm. */

import type { INotebookWork, IReply } from '../tokens';
import { list, record, string } from '../values';
import type { SaveOption } from './saving';

export interface IVariable {
  name: string;
  type: string;
  detail: string;
}

export interface IInfo {
  model: string;
  /** What is asked where, and what leaves the machine. */
  told: string;
  tier: string;
  /** The kernel is set to show tokens and dollars. */
  costs: boolean;
  variables: IVariable[];
  files: string[];
  queued: number;
  /** What may be asked for when a notebook is saved. */
  saving: ReadonlySet<SaveOption>;
}

/** Ask the kernel of `work`; null where it has not our magics, or does not answer. */
export async function askInfo(work: INotebookWork): Promise<IInfo | null> {
  if (!work.connected) {
    return null;
  }
  try {
    return toInfo(await work.request('info'));
  } catch {
    return null; // a kernel that is gone or busy: the panel shows what it knew
  }
}

function toInfo(reply: IReply): IInfo | null {
  if (!reply.ok) {
    return null;
  }
  return {
    model: string(reply.model),
    told: string(reply.told),
    tier: string(reply.tier),
    costs: reply.costs !== false,
    variables: list(reply.variables).map(value => {
      const found = record(value);
      return {
        name: string(found.name),
        type: string(found.type),
        detail: string(found.detail)
      };
    }),
    files: list(reply.files).map(string),
    queued: list(reply.queue).length,
    saving: new Set(list(reply.saving).map(string)) as Set<SaveOption>
  };
}
