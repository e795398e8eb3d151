/** Figures of attempts in words. */

import type { TranslationBundle } from '@jupyterlab/translation';

import { tokensOf } from './panel/sums';
import { duration, visible } from './panel/text';
import type { ITokens } from './tokens';

/** Return how many tokens went in and out; nothing where none did. */
export function tokensFact(
  tokens: ITokens,
  trans: TranslationBundle
): string[] {
  const all = tokensOf(tokens);
  return all > 0 ? [trans.__('%1 tokens', all.toLocaleString())] : [];
}

/** Return a time; nothing where it is none to speak of. */
export function timeFact(seconds: number): string[] {
  return seconds >= 0.05 ? [duration(seconds)] : [];
}

/** Return the isolation that was in force; nothing where nothing ran. */
export function tierFact(tier: string, trans: TranslationBundle): string[] {
  return tier ? [trans.__('tier %1', visible(tier))] : [];
}
