from chat import views
from django.urls import path
from rest_framework_simplejwt.views import TokenObtainPairView

urlpatterns = [
    path("readyz", views.readyz),
    path("accounts/api/users/", views.CreateUser.as_view()),
    path("accounts/api/token/", TokenObtainPairView.as_view()),
    path("profiles/api/profile/", views.ShowProfile.as_view()),
    path("profiles/api/posts/", views.Posts.as_view()),
    path("messenger/api/chatrooms/", views.Rooms.as_view()),
    path("messenger/api/chatrooms/<str:name>/messages/", views.Messages.as_view()),
]
