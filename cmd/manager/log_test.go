package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/fluxcd/pkg/runtime/logger"
	. "github.com/onsi/gomega"
	"go.uber.org/zap/zapcore"
	"k8s.io/klog/v2"
)

// A burst of one message loses no line: each can be of another object, and another tenant.
func TestTheLogDropsNoLine(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	log, err := newLogger(logger.Options{LogLevel: "debug", LogEncoding: "json"}, zapcore.AddSync(&out))
	g.Expect(err).NotTo(HaveOccurred())
	for range 1000 {
		log.Info("created", "job", klog.KRef("shop", "mover"))
		log.V(1).Info("waits")
		log.V(2).Info("not at this level")
	}
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	g.Expect(lines).To(HaveLen(2000))
	var line map[string]any
	g.Expect(json.Unmarshal([]byte(lines[0]), &line)).To(Succeed())
	g.Expect(line).To(And(
		HaveKeyWithValue("level", "info"), HaveKeyWithValue("msg", "created"),
		HaveKeyWithValue("ts", MatchRegexp(`^\d{4}-\d\d-\d\dT`)),
		HaveKeyWithValue("job", map[string]any{"namespace": "shop", "name": "mover"})))
}

// The text of an event is a message, and a mover or a server can have written it.
func TestALineOfTheLogIsOneLine(t *testing.T) {
	const forged = "it failed\n2026-11-24T23:00:00.000Z\tINFO\treleased the Repository\x1b[1A"
	for encoding := range logEncodings {
		t.Run(encoding, func(t *testing.T) {
			g := NewWithT(t)
			var out bytes.Buffer
			log, err := newLogger(logger.Options{LogLevel: "debug", LogEncoding: encoding}, zapcore.AddSync(&out))
			g.Expect(err).NotTo(HaveOccurred())
			log.WithName("events").WithValues("a", forged).V(1).Info(forged+"\u2028x", "reason", forged)
			g.Expect(strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")).To(HaveLen(1))
			for _, wrong := range []string{"\x1b", "\u2028", "Z\tINFO\treleased"} {
				g.Expect(out.String()).NotTo(ContainSubstring(wrong))
			}
		})
	}
}
