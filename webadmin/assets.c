/* The style sheet and the script, taken into the program as they are. */
#include "webadmin/web.h"

#define ASSET(name, path)                                                                          \
	__asm__(".section .rodata\n"                                                               \
		".global asset_" name "_begin\n.global asset_" name "_end\n"                       \
		"asset_" name "_begin:\n.incbin \"" path "\"\nasset_" name "_end:\n.byte 0\n"      \
		".previous\n")

ASSET("css_file", "webadmin/assets/style.css");
ASSET("js_file", "webadmin/assets/app.js");

extern const char asset_css_file_begin[], asset_css_file_end[];
extern const char asset_js_file_begin[], asset_js_file_end[];

void asset_css(struct request *rq)
{
	send_asset("text/css; charset=utf-8",
	    span_make(asset_css_file_begin,
		(uintptr_t)asset_css_file_end - (uintptr_t)asset_css_file_begin));
}

void asset_js(struct request *rq)
{
	send_asset("text/javascript; charset=utf-8",
	    span_make(asset_js_file_begin,
		(uintptr_t)asset_js_file_end - (uintptr_t)asset_js_file_begin));
}
