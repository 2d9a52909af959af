// Package loglines keeps the lines that code logs, for tests.
package loglines

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/go-logr/logr/funcr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// Record returns a context whose logger adds each line up to a level to lines, as text: "level"=0 "msg"="waits". With
// messages it adds only their lines. Only one goroutine at a time may log to it.
func Record(ctx context.Context, level int, messages ...string) (recording context.Context, lines *[]string) {
	lines = new([]string)
	log := funcr.New(func(_, line string) {
		if len(messages) == 0 || slices.ContainsFunc(messages, func(message string) bool {
			return strings.Contains(line, fmt.Sprintf(`"msg"=%q`, message))
		}) {
			*lines = append(*lines, line)
		}
	}, funcr.Options{Verbosity: level})
	return logf.IntoContext(ctx, log), lines
}
