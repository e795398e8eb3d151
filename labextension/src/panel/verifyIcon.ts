/** The icon of verifying. */

import { LabIcon } from '@jupyterlab/ui-components';

/** A shield with a check mark. */
const VERIFY = `<svg xmlns="http://www.w3.org/2000/svg" width="16" viewBox="0 0 24 24">
  <g class="jp-icon3" fill="#616161">
    <path d="M12 2 4 5v6c0 5 3.4 9.7 8 11 4.6-1.3 8-6 8-11V5zm0 2.1 6 2.3V11c0 3.900-2.500 7.600-6 8.900-3.500-1.3-6-5-6-8.900V6.400z"/>
    <path d="m10.8 15.8-3.6-3.6 1.400-1.400 2.200 2.200 4.6-4.6 1.400 1.400z"/>
  </g>
</svg>`;

export const verifyIcon = new LabIcon({
  name: 'jupyter-codeagent:verify',
  svgstr: VERIFY
});
