// Package loglines keeps the lines that code logs, for tests.
package loglines

import (
	"context"

	"github.com/go-logr/logr/funcr"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
)

// Record returns a context whose logger adds each line up to a level to lines, as text: "level"=0 "msg"="waits". Only
// one goroutine at a time may log to it.
func Record(ctx context.Context, level int) (recording context.Context, lines *[]string) {
	lines = new([]string)
	log := funcr.New(func(_, line string) { *lines = append(*lines, line) }, funcr.Options{Verbosity: level})
	return logf.IntoContext(ctx, log), lines
}
