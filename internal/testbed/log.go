package testbed

import (
	"bytes"
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"sync"

	"github.com/go-logr/logr"
	"go.uber.org/zap/zapcore"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/cairn-backup/cairn/internal/task"
)

// logOutput is where the controllers log. It holds a rule of docs/contributing.md: the key "reason" has a word of the
// API and no phrase.
type logOutput struct {
	mu      sync.Mutex
	phrases [][]byte
}

// reasonKey matches the values of the keys "reason" and "reasons" in a line of JSON.
var reasonKey = regexp.MustCompile(`"reasons?":(?:"([^"]*)"|\[([^\]]*)\])`)

// debugLine is how a line at V(1) begins.
var debugLine = []byte(`{"level":"debug"`)

// Write implements io.Writer. It checks all lines, and prints those that are not for debugging.
func (o *logOutput) Write(line []byte) (int, error) {
	for _, found := range reasonKey.FindAllSubmatch(line, -1) {
		if !areReasons(string(found[1]), string(found[2])) {
			o.mu.Lock()
			o.phrases = append(o.phrases, bytes.Clone(line))
			o.mu.Unlock()
		}
	}
	if bytes.HasPrefix(line, debugLine) {
		return len(line), nil
	}
	return os.Stderr.Write(line)
}

// areReasons reports whether a value is a reason of the API, or a list of them. The reason of a condition that
// is not written yet is empty.
func areReasons(value, list string) bool {
	var words []string
	if json.Unmarshal([]byte("["+list+"]"), &words) != nil {
		return false
	}
	if value != "" {
		words = append(words, value)
	}
	return !slices.ContainsFunc(words, func(word string) bool { return !task.IsReason(word) })
}

// logger returns the logger of the controllers. The rule holds for V(1), too.
func (o *logOutput) logger() logr.Logger {
	return zap.New(zap.WriteTo(o), zap.Level(zapcore.DebugLevel))
}

// wrong returns the lines that break the rule.
func (o *logOutput) wrong() [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.Clone(o.phrases)
}
