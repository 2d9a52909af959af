package read

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"k8s.io/client-go/rest"
)

// ServerTime returns a function that asks an API server for its time. The time is that of the answer, in whole seconds.
func ServerTime(config *rest.Config) (func(context.Context) (time.Time, error), error) {
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("make a client of the API server: %w", err)
	}
	base, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return nil, fmt.Errorf("read the address of the API server: %w", err)
	}
	where := base.JoinPath("version").String()
	return func(ctx context.Context) (time.Time, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, where, nil)
		if err != nil {
			return time.Time{}, fmt.Errorf("ask the API server for its time: %w", err)
		}
		answer, err := client.Do(request)
		if err != nil {
			return time.Time{}, fmt.Errorf("ask the API server for its time: %w", err)
		}
		defer func() { _ = answer.Body.Close() }()
		_, _ = io.Copy(io.Discard, io.LimitReader(answer.Body, 1<<16))
		at, err := http.ParseTime(answer.Header.Get("Date"))
		if err != nil {
			return time.Time{}, fmt.Errorf("ask the API server for its time: %w", err)
		}
		return at, nil
	}, nil
}
