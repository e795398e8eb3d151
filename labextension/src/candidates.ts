/** Candidates: several attempts at one ask, of which the task goes on from one. */

import type { IAttemptRecord, IAttemptView } from './tokens';

/** Whether the attempt is one of several at the same ask. */
export function isCandidate({ of }: IAttemptRecord): boolean {
  return of !== undefined;
}

/** Whether it has been said which of the candidates is chosen, or that none is. */
export function isDecided({ chosen, reason }: IAttemptRecord): boolean {
  return chosen === true || !!reason;
}

/** Whether another candidate was chosen in place of this one. */
export function isPassedOver(record: IAttemptRecord): boolean {
  return (
    isCandidate(record) &&
    record.role === 'attempt' &&
    record.chosen !== true &&
    isDecided(record)
  );
}

/** Whether the user can have the task go on from this candidate instead. */
export function mayChoose({ record, phase }: IAttemptView): boolean {
  const good = record.status === 'succeeded' || record.status === 'edited';
  return isPassedOver(record) && good && phase === 'done';
}

/** Return what tells rounds apart; empty where the attempt was alone. */
export function roundOf(record: IAttemptRecord): string {
  return isCandidate(record) ? `${record.task}/${record.round}` : '';
}

/** Whether the user still has to say what becomes of the attempt, of one that the task goes on from. */
export function waits({ record }: IAttemptView): boolean {
  return (
    record.role === 'attempt' &&
    record.status !== 'running' &&
    (!isCandidate(record) || record.chosen === true)
  );
}

/** Return the attempts that count: of candidates the chosen one, or else those that were accepted, or else one. */
export function counted(attempts: readonly IAttemptView[]): IAttemptView[] {
  return grouped(attempts).flatMap(group => {
    const taken = group.filter(
      ({ record }) => !isCandidate(record) || record.role === 'accepted'
    );
    const chosen = group.filter(({ record }) => record.chosen === true);
    return taken.length > 0 ? taken : [chosen[0] ?? group[0]];
  });
}

/** Return the attempts with neighbours of one round together. */
export function grouped(attempts: readonly IAttemptView[]): IAttemptView[][] {
  const groups: IAttemptView[][] = [];
  for (const attempt of attempts) {
    const round = roundOf(attempt.record);
    const last = groups[groups.length - 1];
    if (round && last && roundOf(last[0].record) === round) {
      last.push(attempt);
    } else {
      groups.push([attempt]);
    }
  }
  return groups;
}

/** Whether two records say the same, but for the words of why. */
export function agree(one: IAttemptRecord, other: IAttemptRecord): boolean {
  const plain = (record: IAttemptRecord) =>
    JSON.stringify(
      Object.entries({ ...record, reason: '' }).sort(([a], [b]) =>
        a < b ? -1 : 1
      )
    );
  return !!one.reason === !!other.reason && plain(one) === plain(other);
}
