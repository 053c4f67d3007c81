// The emulator against the services' own SDKs: `npm install --no-package-lock && node run.mjs` in this folder.
// $AGENTHOST names the program (default build/agenthost).
import { finish, startEmulator } from './harness.mjs';
import { run as agents } from './agents_sdk.mjs';
import { run as ai } from './ai_sdk.mjs';
import { run as langchain } from './langchain_sdk.mjs';
import { run as langsmith } from './langsmith_sdk.mjs';
import { run as mcp } from './mcp_sdk.mjs';
import { run as openai } from './openai_sdk.mjs';
import { run as otlp } from './otlp.mjs';

for (const name of Object.keys(process.env)) if (/^(LANGSMITH|LANGCHAIN|OPENAI)_/.test(name)) delete process.env[name];
const emulator = await startEmulator();
try {
  for (const suite of [openai, ai, agents, langchain, langsmith, mcp, otlp]) await suite(emulator);
} finally {
  await emulator.stop();
}
process.exit(finish());
