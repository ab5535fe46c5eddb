// OpenAI's client for JavaScript, pointed at Pannier: a streamed chat and an embedding.  npm install openai
"use strict";

const OpenAI = require("openai");

const url = process.env.PANNIER_URL ?? "http://127.0.0.1:8000";
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" });

async function main() {
  const stream = await client.chat.completions.create({
    model: "smollm2:135m",
    messages: [{ role: "user", content: "What is the capital of France?" }],
    temperature: 0,
    stream: true,
  });
  for await (const chunk of stream) process.stdout.write(chunk.choices[0].delta.content ?? "");
  console.log();

  const vectors = await client.embeddings.create({ model: "all-minilm", input: ["a llama", "a basket"] });
  console.log(vectors.data.length, "vectors of", vectors.data[0].embedding.length, "numbers");
}

main();
