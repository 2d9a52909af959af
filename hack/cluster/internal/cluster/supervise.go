package cluster

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

const (
	readyTimeout = 2 * time.Minute
	stopTimeout  = 15 * time.Second
)

// Supervise starts the components in order, restarts those that exit, and on
// SIGTERM stops them in reverse order. It is the detached process that Up
// leaves behind; it holds no state besides its children.
func (c *Cluster) Supervise() error {
	ctx, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	if err := os.WriteFile(c.path("run", "supervisor.pid"), []byte(strconv.Itoa(os.Getpid())), 0o644); err != nil {
		return fmt.Errorf("note the supervisor's process: %w", err)
	}
	var running []*child
	for _, comp := range c.components() {
		ch := &child{component: comp, logFile: c.path("log", comp.name+".log"), pidFile: c.path("run",
			comp.name+".pid"), holdFile: c.holdFile(comp.name)}
		ch.start()
		running = append(running, ch)
		if comp.ready == nil {
			continue
		}
		begin := time.Now()
		limited, cancel := context.WithTimeout(ctx, readyTimeout)
		err := poll(limited, comp.ready)
		cancel()
		if err != nil {
			if ctx.Err() == nil {
				log.Printf("%s did not become ready: %v", comp.name, err)
			}
			break
		}
		log.Printf("%s ready after %v", comp.name, time.Since(begin).Round(10*time.Millisecond))
	}
	<-ctx.Done()
	log.Print("stopping")
	for i := len(running) - 1; i >= 0; i-- {
		running[i].stop()
	}
	return os.Remove(c.path("run", "supervisor.pid"))
}
