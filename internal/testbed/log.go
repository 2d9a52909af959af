package testbed

import (
	"bytes"
	"os"
	"regexp"
	"slices"
	"sync"
)

// logOutput is where the controllers log. It holds a rule of docs/contributing.md: the key "reason" has a word of the
// API and no phrase.
type logOutput struct {
	mu      sync.Mutex
	phrases [][]byte
}

// reasonKey matches the value of the key "reason" in a line of JSON.
var reasonKey = regexp.MustCompile(`"reason":"([^"]*)"`)

// reasonWord matches a reason of the API. A condition that is not written yet has none.
var reasonWord = regexp.MustCompile(`^[A-Za-z]*$`)

// Write implements io.Writer. It prints the line.
func (o *logOutput) Write(line []byte) (int, error) {
	for _, found := range reasonKey.FindAllSubmatch(line, -1) {
		if !reasonWord.Match(found[1]) {
			o.mu.Lock()
			o.phrases = append(o.phrases, bytes.Clone(line))
			o.mu.Unlock()
		}
	}
	return os.Stderr.Write(line)
}

// wrong returns the lines that break the rule.
func (o *logOutput) wrong() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.phrases)
}
