package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"

	"github.com/fluxcd/pkg/runtime/logger"
	"github.com/go-logr/logr"
	"github.com/go-logr/zapr"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	ctrlzap "sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// logLevel is a value of --log-level: the lowest level that is logged, and the lowest that brings a stack trace.
type logLevel struct{ lines, stacks zapcore.Level }

// The values of --log-level and --log-encoding mean the same as in Flux.
var (
	logLevels = map[string]logLevel{
		"trace": {zapcore.DebugLevel - 1, zapcore.ErrorLevel},
		"debug": {zapcore.DebugLevel, zapcore.ErrorLevel},
		"info":  {zapcore.InfoLevel, zapcore.PanicLevel},
		"error": {zapcore.ErrorLevel, zapcore.PanicLevel},
	}
	logEncodings = map[string]func() zapcore.Encoder{
		"json": func() zapcore.Encoder {
			config := zap.NewProductionEncoderConfig()
			config.EncodeTime, config.EncodeLevel = zapcore.ISO8601TimeEncoder, logger.LowercaseLevelEncoder
			return zapcore.NewJSONEncoder(config)
		},
		"console": func() zapcore.Encoder {
			config := zap.NewDevelopmentEncoderConfig()
			config.EncodeTime, config.EncodeLevel = zapcore.ISO8601TimeEncoder, logger.CapitalLevelEncoder
			return zapcore.NewConsoleEncoder(config)
		},
	}
)

// newLogger returns Flux's logger without its sampler. After a hundred lines of one message in a second, the
// sampler keeps every hundredth. Cairn's messages are constant, and their objects are values: the lines of one tenant
// would hide those of another.
func newLogger(o logger.Options, to zapcore.WriteSyncer) (logr.Logger, error) {
	level, known := logLevels[o.LogLevel]
	if !known {
		return logr.Logger{}, unknownValue("--log-level", o.LogLevel, slices.Sorted(maps.Keys(logLevels)))
	}
	encoder := logEncodings[o.LogEncoding]
	if encoder == nil {
		return logr.Logger{}, unknownValue("--log-encoding", o.LogEncoding, slices.Sorted(maps.Keys(logEncodings)))
	}
	core := oneLine{zapcore.NewCore(&ctrlzap.KubeAwareEncoder{Encoder: encoder()}, to, level.lines)}
	return zapr.NewLogger(zap.New(core, zap.ErrorOutput(to), zap.AddStacktrace(level.stacks))), nil
}

// oneLine keeps each message on its line. The logger "events" has the texts of events as messages, and a text can come
// from a mover or a server: with a line break it could pass for a line of the manager.
type oneLine struct{ zapcore.Core }

// Check implements zapcore.Core.
func (c oneLine) Check(entry zapcore.Entry, checked *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(entry.Level) {
		return checked.AddCore(entry, c)
	}
	return checked
}

// Write implements zapcore.Core.
func (c oneLine) Write(entry zapcore.Entry, fields []zapcore.Field) error {
	entry.Message = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, entry.Message)
	return c.Core.Write(entry, fields)
}

// With implements zapcore.Core.
func (c oneLine) With(fields []zapcore.Field) zapcore.Core { return oneLine{c.Core.With(fields)} }

func unknownValue(flag, value string, known []string) error {
	return fmt.Errorf("invalid %s %q: it must be one of %s", flag, value, strings.Join(known, ", "))
}
