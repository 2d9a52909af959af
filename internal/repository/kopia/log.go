package kopia

import (
	"context"

	"github.com/kopia/kopia/repo/logging"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/cairn-backup/cairn/internal/repository"
)

// withLog sends the messages of kopia's zap loggers, one per component, to f. Without f kopia logs nothing.
func withLog(ctx context.Context, f func(level, component, msg string)) context.Context {
	if f == nil {
		return ctx
	}
	return logging.WithLogger(ctx, func(module string) logging.Logger {
		return zap.New(&logCore{f: f, module: module}).Sugar()
	})
}

type logCore struct {
	f      func(level, component, msg string)
	module string
}

func (c *logCore) Enabled(l zapcore.Level) bool      { return l >= zapcore.InfoLevel }
func (c *logCore) With([]zapcore.Field) zapcore.Core { return c }
func (c *logCore) Sync() error                       { return nil }

func (c *logCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *logCore) Write(e zapcore.Entry, _ []zapcore.Field) error {
	c.f(e.Level.String(), c.module, repository.Redact(e.Message))
	return nil
}
