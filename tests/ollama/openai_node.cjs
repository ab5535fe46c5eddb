// One call of the openai package for JavaScript: node openai_node.cjs URL CALL prints what the client made of it.
"use strict";

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

async function all(stream) {
  const parts = [];
  for await (const part of await stream) parts.push(part);
  return parts;
}

const calls = {
  chat: () => client.chat.completions.create(question),
  chat_streamed: () => all(client.chat.completions.create({ ...question, stream: true })),
  chat_streamed_with_usage: () =>
    all(client.chat.completions.create({ ...question, stream: true, stream_options: { include_usage: true } })),
  response_streamed: () =>
    all(client.responses.create({ model: process.env.TEXT, input: process.env.QUESTION, temperature: 0, stream: true })),
  embeddings: () => client.embeddings.create({ model: process.env.EMBEDDING, input: ["a llama", "a basket"] }),
  missing_model: () => client.chat.completions.create({ ...question, model: "no-such-model" }),
};

calls[call]().then(
  (answer) => console.log(JSON.stringify(answer)),
  (error) => console.log(JSON.stringify({ raised: error.constructor.name, status: error.status, error: error.error })),
);
