package main

type product struct {
	ID         string `json:"id"`
	Name       string `json:"name"`
	PriceCents int64  `json:"price_cents"`
}

var products = []product{
	{"tea", "Darjeeling, first flush, 100 g", 1490},
	{"coffee", "Coffee beans, 500 g", 1150},
	{"teapot", "Cast-iron teapot, 0.8 l", 4900},
	{"kettle", "Electric kettle with thermometer", 6450},
	{"grinder", "Hand grinder, steel burrs", 8900},
	{"mug", "Stoneware mug", 1200},
	{"cup", "Espresso cup", 750},
	{"saucer", "Saucer for the espresso cup", 350},
	{"spoon", "Measuring spoon", 420},
	{"scale", "Kitchen scale, 0.1 g", 3490},
	{"filter", "Paper filters, 100", 390},
	{"dripper", "Porcelain dripper", 1990},
	{"press", "French press, 1 l", 2890},
	{"moka", "Moka pot, three cups", 2450},
	{"whisk", "Bamboo whisk", 1690},
	{"matcha", "Matcha, ceremonial, 30 g", 2290},
	{"honey", "Blossom honey, 250 g", 690},
	{"sugar", "Rock sugar, 250 g", 290},
	{"biscuit", "Shortbread, twelve pieces", 540},
	{"tin", "Storage tin, airtight", 1350},
}
