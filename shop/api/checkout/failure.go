package checkout

import (
	"errors"
	"net/http"

	"chaosrunner/shop/api/catalog"
	"chaosrunner/shop/api/payments"
)

var (
	errInput   = errors.New("bad request")
	errCatalog = errors.New("catalogue failed")
)

// failure is what becomes of an error: the count it goes to, and what the customer sees.
type failure struct {
	is      error
	outcome string
	code    int
	message string
}

// failures is read from the top; the first that matches holds.
var failures = []failure{
	{errInput, "bad_request", http.StatusBadRequest, "bad request"},
	{catalog.ErrUnknown, "unknown_product", http.StatusNotFound, "unknown product"},
	{catalog.ErrUnavailable, "catalog_unavailable", http.StatusServiceUnavailable, "catalogue unavailable"},
	{errCatalog, "catalog_failed", http.StatusBadGateway, "catalogue failed"},
	{payments.ErrBusy, "payment_busy", http.StatusServiceUnavailable, "too many payments are under way"},
	{errPayment, "payment_failed", http.StatusBadGateway, "payment failed"},
	{errOrder, "order_failed", http.StatusServiceUnavailable, "order not recorded"},
	{nil, "error", http.StatusInternalServerError, "internal error"},
}

func failureOf(err error) failure {
	for _, f := range failures {
		if f.is == nil || errors.Is(err, f.is) {
			return f
		}
	}
	panic("unreachable: the last failure matches everything")
}
