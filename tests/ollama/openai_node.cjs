// One call of the openai package for JavaScript: node openai_node.cjs URL CALL prints what the client made of it.
"use strict";

const fs = require("fs");
const OpenAI = require("openai");

const [url, call] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "unused", maxRetries: 0 });
const question = {
  model: process.env.TEXT,
  messages: [{ role: "user", content: process.env.QUESTION }],
  temperature: 0,
  seed: 7,
  max_tokens: 24,
};
const withTools = {
  ...question,
  model: process.env.TOOLS,
  messages: [{ role: "user", content: process.env.WEATHER_QUESTION }],
  tools: [{ type: "function", function: JSON.parse(process.env.WEATHER) }],
};
const asked = { model: process.env.TEXT, input: process.env.QUESTION, temperature: 0, max_output_tokens: 24 };

async function all(stream) {
  const parts = [];
  for await (const part of await stream) parts.push(part);
  return parts;
}

// A stream is asked with another seed: what is stored whole answers a stream too, in frames of its own.
const streamed = { ...question, seed: 8, stream: true };

const recording = () => ({ file: fs.createReadStream(process.env.RECORDING), model: "tiny" });
const heard = (wishes) => client.audio.transcriptions.create({ ...recording(), language: "en", ...wishes });

const calls = {
  chat: () => client.chat.completions.create(question),
  chat_streamed: () => all(client.chat.completions.create(streamed)),
  chat_streamed_with_usage: () =>
    all(client.chat.completions.create({ ...streamed, stream_options: { include_usage: true } })),
  chat_added_up: () => client.chat.completions.stream(question).finalChatCompletion(),
  chat_with_tools: () => client.chat.completions.create(withTools),
  chat_with_tools_added_up: () => client.chat.completions.stream(withTools).finalChatCompletion(),
  response: () => client.responses.create(asked),
  response_streamed: () => all(client.responses.create({ ...asked, max_output_tokens: 23, stream: true })),
  response_added_up: () => client.responses.stream(asked).finalResponse(),
  embeddings: () => client.embeddings.create({ model: process.env.EMBEDDING, input: ["a llama", "a basket"] }),
  heard: () => heard(),
  heard_verbose: () => heard({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] }),
  heard_as_subtitles: () => heard({ response_format: "srt" }),
  heard_streamed: () => all(heard({ stream: true })),
  translated: () => client.audio.translations.create(recording()),
  missing_model: () => client.chat.completions.create({ ...question, model: "no-such-model" }),
};

calls[call]().then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => console.log(JSON.stringify({ raised: error.constructor.name, status: error.status, error: error.error })),
);
