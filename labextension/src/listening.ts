/** What JupyterLab says of a comm's subshell. */

import type { Kernel } from '@jupyterlab/services';

/** Comms since JupyterLab 4.5; the interface in @jupyterlab/services leaves it out. */
export interface IOnSubshell {
  subshellStarted: Promise<void>;
}

/** Have nothing reported where the kernel ends before the comm has its subshell, which is for sending. */
export function onlyListen(comm: Kernel.IComm): void {
  (comm as Partial<IOnSubshell>).subshellStarted?.catch(() => undefined);
}
