// What a script of this folder says, as telling.py: its last line, a JSON object that `run` puts into the table.

import { readFileSync } from "node:fs";

// `name`: the client's, in the table. `library`: the npm package whose version it is. `steps`: what each does -> a function.
export const tell = async (name, library, steps) => {
  const { version } = JSON.parse(readFileSync(`${process.env.CLIENT_HOME}/node_modules/${library}/package.json`));
  const row = { client: name, version, did: [], ok: true };
  for (const [what, step] of Object.entries(steps)) {
    try {
      await step();
      row.did.push(what);
    } catch (wrong) {
      Object.assign(row, { ok: false, error: `${what}: ${wrong.stack}`.slice(0, 900) });
      break;
    }
  }
  console.log(JSON.stringify(row));
};
