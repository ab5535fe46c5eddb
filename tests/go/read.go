// What Go's own reader, which is Ollama's, makes of the bodies on standard input: one a line in base64, one answer each.
//
//	GO111MODULE=off go run read.go
package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"os"
	"time"
)

// stay is read as Ollama reads keep_alive (api/types.go): a number is seconds, a text a duration.
type stay struct{ time.Duration }

func (s *stay) UnmarshalJSON(b []byte) error {
	var v any
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	switch t := v.(type) {
	case float64:
		s.Duration = time.Duration(t * float64(time.Second))
		if t < 0 {
			s.Duration = time.Duration(-1)
		}
	case string:
		d, err := time.ParseDuration(t)
		if err != nil {
			return err
		}
		s.Duration = d
	default:
		return errors.New("neither a number nor a text")
	}
	return nil
}

// question is what of a request of /api/generate decides the answer.
type question struct {
	Prompt   string          `json:"prompt"`
	Suffix   string          `json:"suffix"`
	System   string          `json:"system"`
	Template string          `json:"template"`
	Context  []int           `json:"context,omitempty"`
	Raw      bool            `json:"raw,omitempty"`
	Format   json.RawMessage `json:"format,omitempty"`
	Images   [][]byte        `json:"images,omitempty"`
	Options  map[string]any  `json:"options"`
}

type request struct {
	question
	Model     string `json:"model"`
	Stream    *bool  `json:"stream,omitempty"`
	KeepAlive *stay  `json:"keep_alive,omitempty"`
}

type verdict struct {
	Fine     bool        `json:"fine"`
	Model    string      `json:"model"`
	Stream   *bool       `json:"stream"`
	Stay     *int64      `json:"stay"`    // nanoseconds
	Numbers  [3]*float64 `json:"numbers"` // temperature, top_k, seed
	Question string      `json:"question"`
}

func read(body []byte) verdict {
	var asked request
	// As gin does: one value is read, and whatever follows it is not looked at.
	if err := json.NewDecoder(bytes.NewReader(body)).Decode(&asked); err != nil {
		return verdict{}
	}
	told := verdict{Fine: true, Model: asked.Model, Stream: asked.Stream}
	if asked.KeepAlive != nil {
		nanos := int64(asked.KeepAlive.Duration)
		told.Stay = &nanos
	}
	for at, name := range []string{"temperature", "top_k", "seed"} {
		if number, is := asked.Options[name].(float64); is {
			told.Numbers[at] = &number
		}
	}
	// Ollama takes both for no format (llm/server.go).
	if format := string(asked.Format); format == `""` || format == "null" {
		asked.Format = nil
	}
	question, err := json.Marshal(asked.question)
	if err != nil {
		// A format that is no JSON by itself cannot have come this far.
		panic(err)
	}
	told.Question = string(question)
	return told
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	answers := json.NewEncoder(out)
	answers.SetEscapeHTML(false)
	for lines.Scan() {
		body, err := base64.StdEncoding.DecodeString(lines.Text())
		if err != nil {
			panic(err)
		}
		if err := answers.Encode(read(body)); err != nil {
			panic(err)
		}
	}
}
