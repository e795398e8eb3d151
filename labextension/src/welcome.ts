/** Lets the kernel open its comm before what works on notebooks has been loaded. */

import type { ISessionContext } from '@jupyterlab/apputils';

import { onlyListen } from './listening';
import { EVENTS } from './tokens';

/** Keep JupyterLab from closing our comm as one that nobody wants; its messages come by a signal. */
export function welcome(context: ISessionContext): void {
  const register = () => {
    const kernel = context.session?.kernel;
    if (kernel?.handleComms) {
      kernel.registerCommTarget(EVENTS, onlyListen);
    }
  };
  context.kernelChanged.connect(register);
  register();
}
