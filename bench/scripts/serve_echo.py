"""An ASGI application without a model: answers with the body that it got. For uvicorn: `serve_echo:app`."""

HEADERS = [(b"content-type", b"application/json")]


async def app(scope, receive, send):
    """One request."""
    if scope["type"] != "http":
        return
    message = await receive()
    body = message["body"]
    while message.get("more_body"):
        message = await receive()
        body += message["body"]
    headers = [*HEADERS, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
