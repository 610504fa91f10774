// /// script
// npm = ["ai", "@ai-sdk/anthropic", "zod"]
// ///
// The AI SDK with its Anthropic provider.

import assert from "node:assert";
import { createAnthropic } from "@ai-sdk/anthropic";
import { generateText, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { tell } from "./telling.mjs";

const model = createAnthropic({ baseURL: process.env.FUGU_BASE_URL, apiKey: process.env.FUGU_API_KEY })("fugu");
const tools = {
  get_weather: tool({
    description: "The weather at a place",
    inputSchema: z.object({ location: z.string() }),
    execute: async ({ location }) => `14 degrees in ${location}`,
  }),
};
const steps = {
  "an answer": async () => {
    const { text } = await generateText({ model, prompt: "hello", maxRetries: 0 });
    assert.equal(text, "You said: hello");
  },
  "a stream": async () => {
    let text = "";
    for await (const piece of streamText({ model, prompt: "hello", maxRetries: 0 }).textStream) text += piece;
    assert.equal(text, "You said: hello");
  },
  "a tool round trip": async () => {
    const options = { model, tools, stopWhen: stepCountIs(3), maxRetries: 0 };
    const { text } = await generateText({ ...options, prompt: "the weather?" });
    assert.equal(text, "The tool said: 14 degrees in Paris");
    const streamed = streamText({ ...options, prompt: "the weather?" });
    assert.equal(await streamed.text, "The tool said: 14 degrees in Paris");
  },
};

await tell("AI SDK (Anthropic)", "@ai-sdk/anthropic", steps);
