/** The words for how tasks and attempts stand; a status from outside that is none of ours is shown as it is. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { oneLine } from './text';

export function taskWord(status: string, trans: TranslationBundle): string {
  const words = new Map([
    ['queued', trans.__('queued')],
    ['running', trans.__('running')],
    ['solved', trans.__('solved')],
    ['failed', trans.__('not solved')],
    ['stopped', trans.__('stopped')]
  ]);
  return words.get(status) ?? oneLine(status, 20);
}

export function attemptWord(status: string, trans: TranslationBundle): string {
  const words = new Map([
    ['writing', trans.__('writing')],
    ['running', trans.__('running in sandbox')],
    ['failed', trans.__('failed')],
    ['succeeded', trans.__('succeeded')],
    ['accepted', trans.__('accepted')],
    ['discarded', trans.__('discarded')],
    ['edited', trans.__('edited')]
  ]);
  return words.get(status) ?? oneLine(status, 20);
}
