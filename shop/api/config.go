package main

import (
	"fmt"
)

type config struct {
	catalogURL      string
	paymentsURL     string
	redisAddr       string
	databaseURL     string
	catalogFallback bool
	paymentsBudget  bool
	orderIntent     bool
}

// readConfig reads the environment. A switch with a value it does not know is an error: an experiment on a shop that
// quietly runs the other version proves the wrong thing.
func readConfig(getenv func(string) string) (config, error) {
	c := config{
		catalogURL:  or(getenv("CATALOG_URL"), "http://catalog:8080"),
		paymentsURL: or(getenv("PAYMENTS_URL"), "http://payments:8080"),
		redisAddr:   or(getenv("REDIS_ADDR"), "redis:6379"),
		databaseURL: getenv("DATABASE_URL"),
	}
	if c.databaseURL == "" {
		return config{}, fmt.Errorf("DATABASE_URL: got nothing, want postgres://user:password@host/database")
	}
	for name, field := range map[string]*bool{
		"CATALOG_FALLBACK": &c.catalogFallback,
		"PAYMENTS_BUDGET":  &c.paymentsBudget,
		"ORDER_INTENT":     &c.orderIntent,
	} {
		var err error
		if *field, err = onOff(name, or(getenv(name), "on")); err != nil {
			return config{}, err
		}
	}
	return c, nil
}

func onOff(name, value string) (bool, error) {
	switch value {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return false, fmt.Errorf("%s: got %q, want on or off", name, value)
}

func or(value, fallback string) string {
	if value != "" {
		return value
	}
	return fallback
}
